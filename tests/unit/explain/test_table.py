"""What people read."""

import re
from typing import Any, get_args

import click
import pytest

from router.explain.table import sentence, shown
from router.routing.explain import Outcome
from tests.unit.explain.explanations import FAR, NEAR, explanation


def printed(width: int | None = None, **changes: Any) -> list[str]:
    """The lines, without their style."""
    return [click.unstyle(line) for line in shown(explanation(**changes), width)]


def row(name: str, lines: list[str]) -> list[str]:
    (line,) = (line for line in lines if line[2:].startswith(name))
    return re.split(r"  +", line[2:])


class TestSentence:
    def test_where_it_goes_and_why(self) -> None:
        assert sentence(explanation()) == (
            "It would go to gpu-1:8000 (cached): 4,912 of 5,012 prompt tokens are cached there, the first "
            "token is expected after 62.0 ms (1,234.6 ms on [fe80::1]:8000)."
        )

    def test_equal_ones(self) -> None:
        names = ["a:1", "b:1", "c:1"]
        said = sentence(explanation(worker=None, equal=names, workers=[NEAR]))
        assert said.startswith("It would go to one of a:1, b:1 and c:1, drawn by lot (cached): ")
        assert said.endswith("after 62.0 ms.")

    @pytest.mark.parametrize(
        ("why", "said"),
        [
            ("max_inflight", "`max_inflight` requests"),
            ("prefill_pending", "`room_tokens` of prefill"),
            ("kv_cache_full", "KV cache"),
            ("others_wait", "others wait"),
            ("saturated", "saturated"),
            ("something_new", "something_new"),
        ],
    )
    def test_why_it_waits(self, why: str, said: str) -> None:
        text = sentence(explanation(outcome="waits", waits=why))
        assert text.startswith("It would wait, as things are for gpu-1:8000: ")
        assert said in text

    def test_it_is_turned_away(self) -> None:
        text = sentence(explanation(outcome="turned_away", waits="queue_full", queue_depth=9))
        assert text == "It would be turned away with 503: 9 requests wait already."

    @pytest.mark.parametrize("outcome", get_args(Outcome))
    def test_every_outcome_has_one(self, outcome: str) -> None:
        assert sentence(explanation(outcome=outcome)).startswith("It would ")


class TestTable:
    def test_what_it_is_about(self) -> None:
        lines = printed()
        assert lines[0] == sentence(explanation())
        assert lines[2] == (
            "policy prefix, model org/m, chat_completions, 5,012 prompt tokens in 61 blocks of text"
        )
        assert "model any" in printed(model=None)[2]

    def test_a_row_for_each_worker_the_chosen_first(self) -> None:
        lines = printed()
        assert row("gpu-1:8000", lines) == [
            *("gpu-1:8000", "4,912", "100", "2 + 3", "1,200", "37%", "1.25", "62.0", "133.0"),
            "yes",
        ]
        assert row("[fe80", lines) == [
            *("[fe80::1]:8000 (down)", "0", "5,012", "0", "1,200", "-", "1.25", "1,234.6"),
            *("1,300.0", "max_inflight"),
        ]

    def test_room_is_left_open_where_the_policy_does_not_look(self) -> None:
        workers = [{**worker, "room": None} for worker in explanation()["workers"]]
        lines = [click.unstyle(line) for line in shown({**explanation(), "workers": workers}, None)]
        assert row("gpu-1:8000", lines)[-1] == "-"

    def test_the_chosen_one_stands_out(self) -> None:
        bold = [line for line in shown(explanation(), None) if line != click.unstyle(line)]
        assert [click.unstyle(line).split()[:2] for line in bold] == [["→", "gpu-1:8000"]]

    @pytest.mark.parametrize("width", [40, 60, 80, 120])
    def test_it_fits_the_terminal(self, width: int) -> None:
        lines = printed(width)
        assert max(map(len, lines)) <= width
        text = " ".join(" ".join(lines).split())
        for figure in ("→ gpu-1:8000", "[fe80::1]:8000 (down)", "4,912", "1,234.6", "max_inflight"):
            assert figure in text

    def test_what_is_alike_everywhere_goes_where_it_is_narrow(self) -> None:
        idle = {"inflight": 0, "foreign": 0, "pending_prefill_tokens": 0, "scale": 1.0}
        idle |= {"room": True, "lacks": ""}
        workers = [worker | idle for worker in explanation()["workers"]]
        lines = list(shown({**explanation(), "workers": workers}, 80))
        assert any(line.startswith("worker ") for line in lines)
        for name in ("in flight", "pending", "scale", "room"):
            assert name not in " ".join(lines)

    def test_who_is_left_out(self) -> None:
        assert printed()[-1] == "Left out: gpu-3:8000 (down)."
        assert not printed(excluded=[])[-1].startswith("Left out")

    def test_names_are_not_markup(self) -> None:
        assert FAR.id in "\n".join(printed())
        assert "model [bold]x" in printed(model="[bold]x")[2]
