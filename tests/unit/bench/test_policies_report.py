"""The arithmetic behind the tables of `bench.policies`."""

import json
import math

import pytest

from bench.policies.client import Answer
from bench.policies.load import Outcome, Sample
from bench.policies.report import Slice, as_json, percentile, report, summarize


def slice_(
    policy: str, ttfts_s: list[float], number: int = 1, errors: list[str] | None = None
) -> Slice:
    """A slice of ten seconds with a request for each TTFT; 16 tokens take 0.15 s after the first."""
    samples = [
        Sample(float(place), 0, Answer("text", ttft_s, ttft_s + 0.15, 1000, 750, 16, "w"))
        for place, ttft_s in enumerate(ttfts_s)
    ]
    return Slice(number, policy, 10.0, 0.25, Outcome(samples, errors or []))


def test_percentiles_are_nearest_ranks() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert [percentile(values, part) for part in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert percentile([3.0], 0.99) == 3.0
    assert math.isnan(percentile([], 0.5))


def test_a_summary_pools_the_requests_of_slices() -> None:
    summary = summarize([slice_("p", [0.1, 0.3]), slice_("p", [0.8], 2, ["status 503"])])
    assert (summary.requests, summary.errors) == (3, 1)
    assert summary.per_s == pytest.approx(3 / 20)
    assert summary.ttft_mean == pytest.approx(400)
    assert (summary.ttft_p50, summary.ttft_p99) == (pytest.approx(300), pytest.approx(800))
    assert summary.tpot_mean == pytest.approx(10)
    assert summary.hit_rate == pytest.approx(0.75)
    assert summary.others == pytest.approx(0.25)


def test_waiting_is_how_many_requests_have_no_first_token_at_a_time() -> None:
    """Two users that wait for a first token all the time make two waiting requests."""
    assert summarize([slice_("p", [1.0] * 20)]).waiting == pytest.approx(2)


def test_a_slice_without_answers_has_no_times() -> None:
    summary = summarize([slice_("p", [], errors=["x"])])
    assert (summary.requests, summary.errors, summary.waiting) == (0, 1, 0)
    assert math.isnan(summary.ttft_mean)
    assert math.isnan(summary.hit_rate)


def rows(text: str, first: str) -> list[list[str]]:
    """The cells of the table rows that begin with `first`."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [cells for cells in lines if cells[0] == first]


def test_the_first_policy_is_compared_with_each_other_per_round_and_over_all() -> None:
    slices = [
        slice_("a", [0.1, 0.3], 1),
        slice_("b", [0.4, 0.4], 1),
        slice_("c", [0.2, 0.2], 1),
        slice_("c", [0.2, 0.2], 2),
        slice_("a", [0.1, 0.1], 2),
        slice_("b", [1.0, 1.0], 2),
    ]
    text = report(slices)
    assert rows(text, "a / b") == [["a / b", "0.50 / 0.75", "0.10 / 0.10", "0.21 / 0.30"]]
    assert rows(text, "a / c") == [["a / c", "1.00 / 1.50", "0.50 / 0.50", "0.75 / 1.50"]]
    assert rows(text, "a") == [
        ["a", "4", "0.2", "0.0", "150", "100", "300", "10.0", "75.0%", "0", "0.25"]
    ]
    assert rows(text, "2 b")[0][4:7] == ["1000", "1000", "1000"]
    assert "Errors" not in text


def test_one_policy_has_nothing_to_be_compared_with() -> None:
    text = report([slice_("a", [0.1], errors=["status 503", "status 503"])])
    assert " / " not in text.replace("TTFT", "")
    assert text.endswith("Errors:\n\nstatus 503")


def test_the_json_holds_every_request_without_its_text() -> None:
    made = json.loads(json.dumps(as_json({"rounds": 1}, [slice_("a", [0.5, 0.25])])))
    assert made["settings"] == {"rounds": 1}
    (only,) = made["slices"]
    assert (only["round"], only["policy"], only["errors"]) == (1, "a", [])
    assert only["summary"]["ttft_mean"] == pytest.approx(375)
    assert only["samples"][1] == {
        "sent_s": 1.0, "turn": 0, "ttft_s": 0.25, "total_s": 0.4, "prompt_tokens": 1000,
        "cached_tokens": 750, "answer_tokens": 16, "worker": "w",
    }  # fmt: skip
