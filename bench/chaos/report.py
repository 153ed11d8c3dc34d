"""What came of a run, for people and as JSON (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.chaos.leaks import Leak
from bench.chaos.load import Record
from bench.chaos.timeline import Timeline
from bench.chaos.verdict import Verdict
from bench.dataplane.report import table

_EXAMPLES = 12
_PATHS = {"/v1/chat/completions": "chat", "/v1/completions": "completions"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A whole run."""

    records: Sequence[Record]
    timeline: Timeline
    leaks: Sequence[Leak]
    seconds: float
    options: dict[str, Any]

    @property
    def lost(self) -> int:
        """Requests that the routers failed."""
        return sum(each.judged.verdict.lost for each in self.records)

    @property
    def failed(self) -> bool:
        """Whether anything was lost or leaked."""
        return bool(self.lost or any(leak.found for leak in self.leaks))


def quantile_ms(values: Iterable[float], q: float) -> float | None:
    """A quantile of seconds in milliseconds; None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(q * len(ordered)))] * 1e3, 1)


def text(outcome: Outcome) -> str:
    """The tables."""
    parts = [_requests(outcome), _verdicts(outcome), _times(outcome), _faults(outcome)]
    return "\n\n".join([*parts, _leaks(outcome.leaks), *_examples(outcome.records)])


def _requests(outcome: Outcome) -> str:
    moved = Counter(kind for each in outcome.records for kind in each.moved)
    told = ", ".join(f"{count} from a {kind}" for kind, count in sorted(moved.items())) or "none"
    rate = len(outcome.records) / outcome.seconds
    return (
        f"{len(outcome.records)} requests, {rate:.1f}/s; lost: {outcome.lost}; "
        f"moved by the client: {told}"
    )


def kind_of(record: Record) -> str:
    """Which sort of request it was."""
    return f"{_PATHS.get(record.path, record.path)}, {'stream' if record.stream else 'whole'}"


def _verdicts(outcome: Outcome) -> str:
    kinds = sorted({kind_of(each) for each in outcome.records})
    found = Counter((each.judged.verdict, kind_of(each)) for each in outcome.records)
    rows = []
    for verdict in Verdict:
        counts = [found[verdict, kind] for kind in kinds]
        if sum(counts) or verdict.lost or verdict is Verdict.OK:
            rows.append([str(verdict), str(sum(counts)), *map(str, counts)])
    return table(["outcome", "all", *kinds], rows)


def _times(outcome: Outcome) -> str:
    rows = []
    for calm in (True, False):
        times = [each.ttft_s for each in outcome.records if each.ttft_s and each.calm is calm]
        quantiles = [quantile_ms(times, q) for q in (0.5, 0.99, 1.0)]
        shown = ["-" if value is None else f"{value:.0f}" for value in quantiles]
        rows.append(["none" if calm else "some", str(len(times)), *shown])
    return table(["faults meanwhile", "streams", "TTFT p50 ms", "p99", "max"], rows)


def _faults(outcome: Outcome) -> str:
    rows = [[kind, str(count)] for kind, count in outcome.timeline.counts().items()]
    return table(["fault", "times"], [*rows, ["(left out)", str(outcome.timeline.skipped)]])


def _leaks(leaks: Sequence[Leak]) -> str:
    rows = []
    for leak in leaks:
        before, after = leak.before, leak.after
        again = "" if before.pid == after.pid else " (started anew)"
        counts = (f"{before.fds} → {after.fds}", f"{before.rss_mb:.0f} → {after.rss_mb:.0f}")
        still = (str(after.inflight), str(after.queued), leak.found or "-")
        rows.append([leak.router + again, *counts, *still])
    return table(["router", "descriptors", "RSS MB", "in flight", "queued", "leaks"], rows)


def _examples(records: Sequence[Record]) -> list[str]:
    bad = [each for each in records if each.judged.verdict.lost]
    if not bad:
        return []
    lines = [
        f"{each.at_s:7.1f} s  {each.judged.verdict}  {kind_of(each)}  {each.router} {each.worker}: {each.judged.why}"
        for each in bad[:_EXAMPLES]
    ]
    return ["\n".join(["The first that were lost:", *lines])]


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The same and every request that was not well, with times in ms."""
    verdicts = Counter(str(each.judged.verdict) for each in outcome.records)
    times = {}
    for name, calm in (("calm", True), ("faulty", False)):
        own = [each.ttft_s for each in outcome.records if each.ttft_s and each.calm is calm]
        times[name] = {
            "streams": len(own),
            "p50": quantile_ms(own, 0.5),
            "p99": quantile_ms(own, 0.99),
        }
    fine = (Verdict.OK, Verdict.RESUMED)
    return {
        "options": outcome.options,
        "requests": len(outcome.records),
        "lost": outcome.lost,
        "verdicts": dict(verdicts),
        "moved": dict(Counter(kind for each in outcome.records for kind in each.moved)),
        "ttft_ms": times,
        "faults": outcome.timeline.counts(),
        "faults_left_out": outcome.timeline.skipped,
        "incidents": [asdict(each) for each in outcome.timeline.incidents],
        "leaks": [asdict(each) | {"found": each.found} for each in outcome.leaks],
        "not_well": [asdict(each) for each in outcome.records if each.judged.verdict not in fine],
    }
