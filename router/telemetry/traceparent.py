"""The header by which a trace crosses processes: W3C Trace Context, levels 1 and 2 (pure)."""

import re

import msgspec

from router.ids import Headers

TRACEPARENT = b"traceparent"
TRACESTATE = b"tracestate"
_OURS = (TRACEPARENT, TRACESTATE)

SAMPLED = 1
_KNOWN_FLAGS = 3
"""Sampled, and (level 2) that the trace's id is random; others are not ours to pass on."""

_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


_MEMBER = re.compile(
    r"([a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[ !-+\--<>-~]{0,255}[!-+\--<>-~]"
)
"""What one vendor says."""
_MEMBERS, _STATE = 32, 512
"""How many of them there may be, and characters that whoever hands them on has to keep."""


class Parent(msgspec.Struct, frozen=True, gc=False):
    """Whose child a span is."""

    trace_id: int
    span_id: int
    flags: int


def parse(value: bytes) -> Parent | None:
    """Read the header's value; None: it is not valid, and a new trace begins."""
    match = _FORM.fullmatch(value)
    if match is None:
        return None
    version, trace, span, flags, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    parent = Parent(int(trace, 16), int(span, 16), int(flags, 16) & _KNOWN_FLAGS)
    return parent if parent.trace_id and parent.span_id else None


def parent_in(headers: Headers) -> Parent | None:
    """The only valid `traceparent` of a request; of two none is."""
    values = [value for name, value in headers if name == TRACEPARENT]
    return parse(values[0]) if len(values) == 1 else None


def state_in(headers: Headers) -> str:
    """What vendors say of the trace, as one value: of a long one the first members, 512 characters in all. What is not as the
    standard has it says nothing.
    """
    given = ",".join(value.decode("latin-1") for name, value in headers if name == TRACESTATE)
    members = [text for each in given.split(",") if (text := each.strip(" \t"))]
    keys = {match[1] for each in members if (match := _MEMBER.fullmatch(each))}
    if len(keys) < len(members) or len(members) > _MEMBERS:
        return ""
    state = ",".join(members)
    return state if len(state) <= _STATE else state[: max(0, state.rfind(",", 0, _STATE + 1))]


def written(trace_id: int, span_id: int, flags: int) -> bytes:
    """The header's value."""
    return b"00-%032x-%016x-%02x" % (trace_id, span_id, flags)


def handed_on(headers: Headers, value: bytes, *, continued: bool) -> Headers:
    """A request's fields with `value` where its `traceparent` was, or at the end; all others as they came, but that the
    `tracestate` of a trace that is not `continued` is left out.
    """
    if continued:
        return [(name, value if name == TRACEPARENT else old) for name, old in headers]
    return [*(each for each in headers if each[0] not in _OURS), (TRACEPARENT, value)]
