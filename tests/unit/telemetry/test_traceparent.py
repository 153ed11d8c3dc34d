"""The header of W3C Trace Context, by the rules of its specification."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import TraceState

from router.ids import Headers
from router.telemetry.traceparent import (
    Parent,
    handed_on,
    parent_in,
    parse,
    state_in,
    written,
)

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
VALID = b"00-%b-%b-01" % (TRACE, SPAN)
PARENT = Parent(int(TRACE, 16), int(SPAN, 16), 1)


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (VALID, 1),
        (b"00-%b-%b-00" % (TRACE, SPAN), 0),
        (b"00-%b-%b-03" % (TRACE, SPAN), 3),
        (b"00-%b-%b-ff" % (TRACE, SPAN), 3),
        (b"01-%b-%b-01" % (TRACE, SPAN), 1),
        (b"cc-%b-%b-01-what-the-future-will-be-like" % (TRACE, SPAN), 1),
        (b"cc-%b-%b-01-" % (TRACE, SPAN), 1),
    ],
)
def test_valid(value: bytes, flags: int) -> None:
    assert parse(value) == Parent(PARENT.trace_id, PARENT.span_id, flags)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        VALID + b"-more",
        VALID + b"-",
        VALID + b".",
        b"cc-%b-%b-01.what" % (TRACE, SPAN),
        b"ff-%b-%b-01" % (TRACE, SPAN),
        b"0-%b-%b-01" % (TRACE, SPAN),
        b".0-%b-%b-01" % (TRACE, SPAN),
        b"00-%b-%b-01" % (TRACE.upper(), SPAN),
        b"00-%b-%b-01" % (TRACE, SPAN.upper()),
        b"00-%b-%b-0A" % (TRACE, SPAN),
        b"00-%b-%b-1" % (TRACE, SPAN),
        b"00-%b-%b-01" % (b"0" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00-%b-%b-01" % (TRACE[:-1], SPAN),
        b"00-%b-%b-01" % (TRACE, SPAN + b"0"),
        b"00-%b-%b-01" % (TRACE[:-1] + b".", SPAN),
        VALID + b"\n",
        VALID + b"," + VALID,
    ],
)
def test_invalid(value: bytes) -> None:
    assert parse(value) is None


@given(st.binary(max_size=60))
def test_anything_is_read(value: bytes) -> None:
    parse(value)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 3))
def test_what_is_written_is_read(trace: int, span: int, flags: int) -> None:
    assert parse(written(trace, span, flags)) == Parent(trace, span, flags)


def test_of_two_none_is_the_parent() -> None:
    field = (b"traceparent", VALID)
    assert parent_in([(b"a", b"1"), field]) == PARENT
    assert parent_in([field, field]) is None
    assert parent_in([]) is None


def test_states_are_joined() -> None:
    assert state_in([(b"tracestate", b"a=1"), (b"x", b""), (b"tracestate", b"b=2")]) == "a=1,b=2"
    assert state_in([]) == ""
    assert state_in([(b"tracestate", b"a@b=1 \t, ,c/d*e=x y!")]) == "a@b=1,c/d*e=x y!"


@pytest.mark.parametrize(
    "value",
    [
        b"no equals sign", b"A=1", b"a=1=2", b"a=", b"a=1,a=2", b"x=\xe9", b"a=1\t2", b"=1", b"a" * 257 + b"=1",
        b"a=" + b"v" * 257, b",".join(b"k%d=v" % n for n in range(33)),
    ],
)  # fmt: skip
def test_what_is_no_state_says_nothing(value: bytes) -> None:
    assert state_in([(b"tracestate", b"ok=1"), (b"tracestate", value)]) == ""


@pytest.mark.parametrize(("lengths", "kept"), [((254, 253), 2), ((254, 254), 1), ((200,) * 9, 2)])
def test_a_long_state_loses_its_last_members(lengths: tuple[int, ...], kept: int) -> None:
    members = [f"{'abcdefghi'[n]}={'v' * length}" for n, length in enumerate(lengths)]
    state = state_in([(b"tracestate", ",".join(members).encode())])
    assert state == ",".join(members[:kept])
    assert len(state) <= 512


@given(st.text(st.sampled_from("aA1@=,;!~ \t\x00é-_*/"), max_size=30))
def test_opentelemetry_reads_what_is_left(value: str) -> None:
    """And reads the same."""

    def read(text: str) -> list[tuple[str, str]]:
        return list(TraceState.from_header([text]).items())

    assert read(state_in([(b"tracestate", value.encode("latin-1"))])) == read(value)


names = st.sampled_from([b"a", b"b", b"traceparent", b"tracestate", b"cookie"])
fields = st.lists(st.tuples(names, st.sampled_from([b"1", b"2", VALID])), max_size=8)


@given(fields)
def test_all_else_is_handed_on_as_it_came(headers: Headers) -> None:
    begun = handed_on(headers, b"new", continued=False)
    assert begun[-1] == (b"traceparent", b"new")
    ours = (b"traceparent", b"tracestate")
    assert begun[:-1] == [field for field in headers if field[0] not in ours]
    continued = handed_on(headers, b"new", continued=True)
    for old, new in zip(headers, continued, strict=True):
        assert new == ((b"traceparent", b"new") if old[0] == b"traceparent" else old)
