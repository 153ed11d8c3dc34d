"""Holds an answer against the one that was due (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bench.chaos.reply import Reply, Said, said
from bench.chaos.timeline import Timeline


class Verdict(StrEnum):
    """What became of a request."""

    OK = "ok"
    RESUMED = "ok, resumed"
    IN_BAND = "ended in band"
    IN_BAND_DONE = "ended in band, [DONE] by the worker"
    ROUTER_KILLED = "its router was killed"
    REFUSED = "LOST: error before any text"
    TRUNCATED = "LOST: cut without an error"
    FAKE_DONE = "LOST: [DONE] after a cut"
    WRONG = "LOST: wrong text"
    WRONG_USAGE = "LOST: wrong usage"
    MALFORMED = "LOST: malformed"
    TIMEOUT = "LOST: no end"

    @property
    def lost(self) -> bool:
        """Whether the router failed its client."""
        return self.startswith("LOST")


@dataclass(frozen=True, slots=True)
class Expected:
    """The answer that is due; counts are None where they are not known."""

    text: str
    reason: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict and, for what is not well, why."""

    verdict: Verdict
    why: str = ""


def judge(reply: Reply, expected: Expected, timeline: Timeline) -> Judged:
    """What became of a request. One whose router was killed is nobody's fault, unless what came is wrong; a worker whose
    engine dies writes an error and [DONE] itself."""
    found = said(reply)
    judged = _judge(reply, found, expected)
    if judged.verdict is Verdict.OK:
        begun = reply.begun_at or reply.sent_at
        if timeline.worker_broke(reply.worker, begun, reply.ended_at):
            return Judged(Verdict.RESUMED)
    told = judged.verdict is Verdict.FAKE_DONE and found.error is not None
    if told and timeline.engine_died(reply.worker, reply.sent_at, reply.ended_at):
        return Judged(Verdict.IN_BAND_DONE if found.text else Verdict.REFUSED, judged.why)
    unfinished = judged.verdict in (Verdict.REFUSED, Verdict.TRUNCATED) and not reply.complete
    if unfinished and timeline.killed(reply.router, reply.sent_at, reply.ended_at):
        return Judged(Verdict.ROUTER_KILLED, judged.why)
    return judged


def _judge(reply: Reply, found: Said, expected: Expected) -> Judged:
    for look in (_transport, _error_event, _text):
        judged = look(reply, found, expected)
        if judged is not None:
            return judged
    return _details(found, expected)


def _transport(reply: Reply, found: Said, expected: Expected) -> Judged | None:
    """Did an answer come that can be read?"""
    if reply.failure == "timeout":
        return Judged(Verdict.TIMEOUT, f"{len(found.text)} of {len(expected.text)} characters")
    if reply.status != 200:
        return Judged(Verdict.REFUSED, f"{reply.status or reply.failure} {_error(found)}".strip())
    return Judged(Verdict.MALFORMED, found.broken) if found.broken else None


def _error_event(_reply: Reply, found: Said, expected: Expected) -> Judged | None:
    """Did it end with an error?"""
    if found.error is None:
        return None
    why = _error(found)
    if not expected.text.startswith(found.text):
        return Judged(Verdict.WRONG, why)
    if found.done:
        return Judged(Verdict.FAKE_DONE, f"error and [DONE]: {why}")
    return Judged(Verdict.IN_BAND if found.text else Verdict.REFUSED, why)


def _text(reply: Reply, found: Said, expected: Expected) -> Judged | None:
    """Is the whole text there?"""
    if not expected.text.startswith(found.text):
        return Judged(Verdict.WRONG, f"{found.text[-80:]!r} of {expected.text[:80]!r}…")
    how_much = f"{len(found.text)} of {len(expected.text)} characters"
    if not reply.complete or (reply.events and not found.done):
        return Judged(Verdict.TRUNCATED, f"{reply.failure or 'no [DONE]'}: {how_much}")
    if found.text != expected.text or "abort" in found.reasons:
        kind = Verdict.FAKE_DONE if reply.events else Verdict.TRUNCATED
        return Judged(kind, f"{how_much} {found.reasons}")
    return None


def _error(found: Said) -> str:
    error = found.error
    return str(error.get("message", error) if isinstance(error, dict) else error or "")


def _details(found: Said, expected: Expected) -> Judged:
    """The text is right: is all else?"""
    if found.reasons != [expected.reason]:
        return Judged(Verdict.MALFORMED, f"{found.reasons} instead of {expected.reason}")
    if len(found.ids) > 1:
        return Judged(Verdict.MALFORMED, f"several ids: {sorted(found.ids)}")
    counts = {
        "prompt_tokens": expected.prompt_tokens,
        "completion_tokens": expected.completion_tokens,
    }
    for name, count in counts.items() if found.usage is not None else ():
        told = (found.usage or {}).get(name)
        if count is not None and told != count:
            return Judged(Verdict.WRONG_USAGE, f"{name} {told} instead of {count}")
    return Judged(Verdict.OK)
