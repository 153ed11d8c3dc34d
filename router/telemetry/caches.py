"""What is known of the workers' caches, and how well, as Prometheus samples."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric


class EventSample(NamedTuple):
    """What happened to a worker's KV events, counts by kind; the age of the last batch when it was applied."""

    counts: Mapping[str, int]
    lag_s: float


class CacheSamples:
    """Asked at each scrape, all by what labels them: `events`, the workers that publish events; `prompts`, how many
    were identified in which way; `tiers`, what came of asking lower ones; `mismatches`, what is wrong, by model; `load_s`, seconds per token, by tier.
    """

    def __init__(self) -> None:
        self.events: Callable[[], Mapping[str, EventSample]] = dict
        self.prompts: Callable[[], Mapping[str, int]] = dict
        self.tiers: Callable[[], Mapping[str, int]] = dict
        self.mismatches: Callable[[], Mapping[str, int]] = dict
        self.load_s: Callable[[], Mapping[str, float]] = dict

    def families(self) -> Iterator[Metric]:
        """All series."""
        events = CounterMetricFamily(
            "router_kv_events",
            "Blocks that workers' KV events told of, and what went wrong with the events.",
            labels=("worker", "kind"),
        )
        lag = GaugeMetricFamily(
            "router_kv_event_lag_seconds",
            "Age of the last batch of KV events when it was applied, by both clocks.",
            labels=("worker",),
        )
        for worker, sample in self.events().items():
            lag.add_metric((worker,), sample.lag_s)
            for kind, count in sample.counts.items():
                events.add_metric((worker, kind), count)
        yield from (events, lag)
        prompts = CounterMetricFamily(
            "router_prompts_identified",
            "Prompts whose tokens were asked for, by what came of it: `tokens`, or why their text had to do.",
            labels=("by",),
        )
        for way, count in self.prompts().items():
            prompts.add_metric((way,), count)
        mismatch = GaugeMetricFamily(
            "router_token_mismatch",
            "Ways in which a model's tokens are other here than at its workers; the log says which.",
            labels=("model",),
        )
        for model, count in self.mismatches().items():
            mismatch.add_metric((model,), count)
        tiers = CounterMetricFamily(
            "router_tier_questions",
            "Prompts that LMCache was asked about, and in which tier some of it was found; `late` and `failed` answers.",
            labels=("result",),
        )
        for result, count in self.tiers().items():
            tiers.add_metric((result,), count)
        load = GaugeMetricFamily(
            "router_tier_load_seconds_per_token",
            "Learned time to load one cached token back from a lower tier.",
            labels=("tier",),
        )
        for tier, seconds in self.load_s().items():
            load.add_metric((tier,), seconds)
        yield from (prompts, tiers, mismatch, load)
