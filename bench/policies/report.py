"""Tables and the JSON of a run: what users of each policy saw, and the first policy's part of each other's times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.dataplane.report import table
from bench.policies.load import Outcome, Sample

HEADER = (
    "policy | requests | req/s | waiting | TTFT mean ms | p50 | p99 | TPOT ms | hit rate | errors | "
    "others"
)


@dataclass(frozen=True, slots=True)
class Slice:
    """One policy's part of one round; rounds count from 1."""

    round: int
    policy: str
    measured_s: float
    others: float  # cores that others used just before
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Summary:
    """Requests of one or more slices of one policy; times in milliseconds, NaN when there are none."""

    requests: int
    per_s: float
    waiting: float  # mean number of requests without a first token (Little's law)
    ttft_mean: float
    ttft_p50: float
    ttft_p99: float
    tpot_mean: float  # mean over requests of the time per token after the first
    hit_rate: float  # cached part of all prompt tokens
    errors: int
    others: float  # mean over slices of the cores that others used just before


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest value that at least `part` of all do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(part * len(ranked)) - 1)] if ranked else math.nan


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def summarize(slices: Sequence[Slice]) -> Summary:
    """Pool the requests of `slices`."""
    answers = [sample.answer for each in slices for sample in each.outcome.samples]
    seconds = sum(each.measured_s for each in slices)
    ttfts = [answer.ttft_s * 1e3 for answer in answers]
    tpots = [
        (answer.total_s - answer.ttft_s) * 1e3 / (answer.answer_tokens - 1)
        for answer in answers
        if answer.answer_tokens > 1
    ]
    prompt_tokens = sum(answer.prompt_tokens for answer in answers)
    cached = sum(answer.cached_tokens for answer in answers)
    return Summary(
        requests=len(answers),
        per_s=len(answers) / seconds,
        waiting=sum(ttfts) / 1e3 / seconds,
        ttft_mean=_mean(ttfts),
        ttft_p50=percentile(ttfts, 0.5),
        ttft_p99=percentile(ttfts, 0.99),
        tpot_mean=_mean(tpots),
        hit_rate=cached / prompt_tokens if prompt_tokens else math.nan,
        errors=sum(len(each.outcome.errors) for each in slices),
        others=_mean([each.others for each in slices]),
    )


def cells(title: str, summary: Summary) -> list[str]:
    """A row of the tables with `HEADER`."""
    return [
        title,
        str(summary.requests),
        f"{summary.per_s:.1f}",
        f"{summary.waiting:.1f}",
        *(f"{ms:.0f}" for ms in (summary.ttft_mean, summary.ttft_p50, summary.ttft_p99)),
        f"{summary.tpot_mean:.1f}",
        f"{summary.hit_rate:.1%}",
        str(summary.errors),
        f"{summary.others:.2f}",
    ]


def ratio(ours: Summary, other: Summary) -> str:
    """Our mean and 99th percentile of TTFT as parts of the other's."""
    return f"{ours.ttft_mean / other.ttft_mean:.2f} / {ours.ttft_p99 / other.ttft_p99:.2f}"


def _chosen(slices: Sequence[Slice], policy: str, number: int | None) -> Summary:
    """The summary of a policy in one round, or in all of them."""
    return summarize([s for s in slices if s.policy == policy and number in (None, s.round)])


def report(slices: Sequence[Slice]) -> str:
    """All tables; the policy that came first on the command line is compared with each other one."""
    policies = list(dict.fromkeys(each.policy for each in slices if each.round == 1))
    rounds = sorted({each.round for each in slices})
    header = HEADER.split(" | ")
    pooled = [cells(policy, _chosen(slices, policy, None)) for policy in policies]
    parts = ["All rounds:", table(header, pooled)]
    ours, *others = policies
    if others:
        rows = [
            [
                f"{ours} / {other}",
                *(
                    ratio(_chosen(slices, ours, n), _chosen(slices, other, n))
                    for n in (*rounds, None)
                ),
            ]
            for other in others
        ]
        titles = ["TTFT mean / p99", *(f"round {n}" for n in rounds), "all rounds"]
        parts += ["Parts (below 1: the first is faster):", table(titles, rows)]
    each_round = [cells(f"{s.round} {s.policy}", summarize([s])) for s in slices]
    parts += ["Each slice, in the order they ran:", table(header, each_round)]
    if reasons := list(dict.fromkeys(why for s in slices for why in s.outcome.errors)):
        parts += ["Errors:", "\n".join(reasons[:5])]
    return "\n\n".join(parts)


def as_json(settings: dict[str, Any], slices: Sequence[Slice]) -> dict[str, Any]:
    """Everything that was measured, request by request, but the answers' texts."""
    return {"settings": settings, "slices": [_slice_json(each) for each in slices]}


def _slice_json(each: Slice) -> dict[str, Any]:
    return {
        "round": each.round,
        "policy": each.policy,
        "summary": asdict(summarize([each])),
        "errors": each.outcome.errors,
        "samples": [_sample_json(sample) for sample in each.outcome.samples],
    }


def _sample_json(sample: Sample) -> dict[str, Any]:
    answer = asdict(sample.answer)
    del answer["text"]
    return {"sent_s": sample.sent_s, "turn": sample.turn, **answer}
