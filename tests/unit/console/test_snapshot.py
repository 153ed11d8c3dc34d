"""Rows of workers."""

from typing import Any

import pytest

from router.console.snapshot import changes, fleet_row, models_of
from router.console.tally import Recent, Tally
from tests.unit.console.lines import line

SEEN: dict[str, Any] = {
    "id": "a",
    "rank": None,
    "url": "http://a",
    "up": True,
    "state": "up",
    "circuit": {"state": "closed", "back_in_s": 0.0, "opened": 0},
    "error": None,
    "models": ["m"],
    "kv_cache_tokens": None,
    "kv_cache_usage": 0.12345,
    "requests_running": 2,
    "requests_waiting": 1,
    "inflight": 3,
    "pending_prefill_tokens": 40,
    "pending_seconds": 0.1,
    "speed": 1.234,
    "room": True,
    "index_blocks": {"gpu": 10, "cpu": 5},
    "known_by": "events",
    "mismatches": [],
}


def seen(**other: Any) -> dict[str, Any]:
    return fleet_row({**SEEN, **other}, Recent(step_s=10.0, steps=3))


def test_a_row() -> None:
    row = seen()
    assert (row["inflight"], row["running"], row["waiting"], row["pending"]) == (3, 2, 1, 40)
    assert (row["kv"], row["speed"], row["blocks"], row["lower"]) == (0.123, 1.23, 15, 5)
    assert (row["why"], row["hit"], row["rate"], row["name"]) == ("", None, None, None)


def test_what_it_did_lately() -> None:
    recent, tally = Recent(step_s=10.0, steps=3), Tally()
    tally.add([line()] * 5)
    recent.add({}, 0.0)
    recent.add(tally.workers, 10.0)
    row = fleet_row(SEEN, recent)
    assert (row["hit"], row["predicted"], row["rate"]) == (0.5, 0.6, 0.5)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"error": "connection refused"}, "connection refused"),
        ({"circuit": {"state": "open", "opened": 2}}, "opened 2 times"),
        ({"circuit": {"state": "probation", "opened": 1}}, "to try"),
        ({"mismatches": ["its tokenizer is another"]}, "its tokenizer is another"),
    ],
)
def test_what_is_wrong_is_said(other: dict[str, Any], words: str) -> None:
    assert words in seen(**other)["why"]


class TestChanges:
    def test_a_new_row_is_told_whole(self) -> None:
        assert changes({}, {"a": seen()}) == ([("a", seen())], [])

    def test_of_a_known_one_what_changed(self) -> None:
        before, after = {"a": seen(), "b": seen()}, {"a": seen(inflight=4), "b": seen()}
        assert changes(before, after) == ([("a", {"inflight": 4})], [])

    def test_who_is_gone(self) -> None:
        assert changes({"a": seen(), "b": seen()}, {"b": seen()}) == ([], ["a"])


def test_models_of_all() -> None:
    assert models_of([seen(models=["b", "a"]), seen(models=["c", "a"]), seen(models=[])]) == [
        *("a", "b", "c")
    ]
