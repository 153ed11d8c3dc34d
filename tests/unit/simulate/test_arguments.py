"""Options become values; a mistake says in one line what is wrong, and what would be right."""

from collections.abc import Callable
from pathlib import Path

import pytest

from router.simulate import arguments
from router.simulate.arguments import Mistake
from router.simulate.hardware import PRESETS
from router.simulate.run_options import Outage
from tests.unit.simulate.studies import trace_file


def test_a_generator_by_name() -> None:
    assert arguments.workload("decode", 1) == arguments.workload("decode", 1)
    assert arguments.workload("decode", 1) != arguments.workload("decode", 2)


def test_a_file(tmp_path: Path) -> None:
    work = arguments.workload(str(trace_file(tmp_path / "some.jsonl")), 1)
    assert (work.name, len(work.sessions)) == ("some", 60)


def test_a_file_with_blocks_of_another_size(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text(
        '{"timestamp": 0, "input_length": 48, "output_length": 5, "hash_ids": [1, 2, 3]}\n'
    )
    assert arguments.workload(str(path), 1, 16).block_tokens == 16
    with pytest.raises(Mistake, match=r":1: 3 block ids for 48 tokens: not one per 512 tokens"):
        arguments.workload(str(path), 1)


def test_good_values() -> None:
    assert arguments.hardware("l4-8b") is PRESETS["l4-8b"]
    assert arguments.policies("prefix, lmetric,,prefix") == ["prefix", "lmetric"]
    assert arguments.knowledge("none") == "none"
    assert arguments.sharing("nothing") == "nothing"
    assert arguments.numbers("--load", "0.4, 1e0,0.40") == [0.4, 1.0]
    assert arguments.slow(["0=0.5", "1=2"], 2) == {0: 0.5, 1: 2.0}
    assert arguments.outages(["1=0:2.5", "0=3:4"], 2) == (Outage(1, 0, 2.5), Outage(0, 3, 4))
    assert arguments.outages(["0=5:6", "0=1:5"], 2) == (Outage(0, 1, 5), Outage(0, 5, 6))


@pytest.mark.parametrize(
    ("parse", "message"),
    [
        (lambda: arguments.workload("chta", 1), "chta: no such file, and no generator of that name; did you mean 'chat'?"),
        (lambda: arguments.workload("chat", 1, 64), "--block-tokens is for trace files, not for generators"),
        (lambda: arguments.at_least_1("--jobs", 0), "--jobs: 0 is not at least 1"),
        (lambda: arguments.hardware("h100-8"), "--hardware: 'h100-8' is none of h100-8b, h100x4-70b, l4-8b; did you mean 'h100-8b'?"),
        (lambda: arguments.hardware("tpu"), "--hardware: 'tpu' is none of h100-8b, h100x4-70b, l4-8b"),
        (lambda: arguments.knowledge("event"), "--knowledge: 'event' is none of both, events, predictions, none; did you mean 'events'?"),
        (lambda: arguments.sharing("some"), "--sharing: 'some' is none of all, nothing"),
        (lambda: arguments.policies(" ,"), "--policy: nothing is given"),
        (lambda: arguments.numbers("--load", "0.4,x"), "--load: 'x' is not a number"),
        (lambda: arguments.numbers("--load", "0.4,-1"), "--load: -1 is not above 0"),
        (lambda: arguments.numbers("--speed", "0"), "--speed: 0 is not above 0"),
        (lambda: arguments.numbers("--speed", "nan"), "--speed: 'nan' is not a finite number"),
        (lambda: arguments.slow(["0.5"], 2), "--slow: '0.5' is not N=SPEED"),
        (lambda: arguments.slow(["a=0.5"], 2), "--slow: 'a=0.5' is not N=SPEED"),
        (lambda: arguments.slow(["2=0.5"], 2), "--slow: no worker 2; they are 0 to 1"),
        (lambda: arguments.slow(["1=0"], 2), "--slow: 0 is not above 0"),
        (lambda: arguments.outages(["0=5"], 2), "--outage: '0=5' is not N=START:END"),
        (lambda: arguments.outages(["0=5:5"], 2), "--outage: '0=5:5' does not end after it begins"),
        (lambda: arguments.outages(["0=-5:5"], 2), "--outage: '0=-5:5' does not begin at 0 s or later"),
        (lambda: arguments.outages(["0=0:x"], 2), "--outage: 'x' is not a number"),
        (lambda: arguments.outages(["0=1:5", "0=3:8"], 2), "--outage: worker 0 is down twice at 3 s"),
        (lambda: arguments.outages(["0=1:5", "0=1:3"], 2), "--outage: worker 0 is down twice at 1 s"),
        (lambda: arguments.outages(["0=1:5", "1=4:6"], 2), "--outage: all workers are down at 4 s"),
    ],
)  # fmt: skip
def test_mistakes(parse: Callable[[], object], message: str) -> None:
    with pytest.raises(Mistake) as caught:
        parse()
    assert caught.value.message == message
    assert caught.value.exit_code == 2


def test_policies_that_are_not_there() -> None:
    with pytest.raises(Mistake, match=r"'prefx' is none of prefix, .*; did you mean 'prefix'\?"):
        arguments.policies("lmetric,prefx")


def test_workers_may_be_down_after_each_other() -> None:
    assert len(arguments.outages(["0=1:5", "1=5:6", "0=6:7"], 2)) == 3


def test_a_line_that_is_none(tmp_path: Path) -> None:
    path = trace_file(tmp_path / "some.jsonl")
    path.write_text(path.read_text() + '{"timestamp": 1}\n')
    with pytest.raises(Mistake) as caught:
        arguments.workload(str(path), 1)
    assert caught.value.message.startswith(f"{path}:61: ")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(Mistake) as caught:
        arguments.workload(str(tmp_path), 1)
    assert caught.value.message == f"{tmp_path}: Is a directory"
