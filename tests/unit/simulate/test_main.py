"""The whole command, on small traces."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from router.simulate import main as main_module
from router.simulate.command import simulate
from router.simulate.outcome import Outcome
from router.simulate.outcome import simulate as simulate_one
from router.simulate.scenario import Task
from router.simulate.workload import Workload
from tests.unit.simulate.studies import trace_file


@pytest.fixture
def trace(tmp_path: Path) -> str:
    return str(trace_file(tmp_path / "small.jsonl"))


def run(*arguments: str) -> Result:
    jobs = () if any(argument.startswith("--jobs") for argument in arguments) else ("--jobs=1",)
    return CliRunner().invoke(simulate, [*arguments, *jobs], obj="1.2")


def test_loads_are_found_and_compared(tmp_path: Path) -> None:
    trace = str(trace_file(tmp_path / "some.jsonl", tokens=8000, documents=60))
    report, figures = tmp_path / "report.html", tmp_path / "figures.json"
    result = run(trace, "--workers=2", "--policy=prefix,round_robin", "--load=0.5,1.2",
                 f"--report={report}", f"--json={figures}")  # fmt: skip
    assert result.exit_code == 0, result.output
    said = result.stderr.splitlines()
    document = json.loads(figures.read_text())
    capacity = document["load_1_speed"]
    assert said[0] == "finding load 1.0 …"
    assert said[1].startswith(f"load 1.0 = {capacity:g}x the trace's own speed, ")
    assert said[1].endswith(f" requests/s (next time: --capacity {capacity:g})")
    assert said[2:] == [f"wrote {figures}", f"wrote {report}"]
    lines = result.stdout.splitlines()
    assert [line for line in lines if line.startswith("load ")] == [
        f"load {load}: {load * capacity:.4g}x the trace's own speed, "
        f"{60 / 5.9 * load * capacity:.3g} requests/s"
        for load in (0.5, 1.2)
    ]
    assert lines[0] == "60 requests of some to 2 workers (h100-8b), seed 1"
    assert [line.split()[0] for line in lines if "x " in line and ":" not in line] == [
        "prefix", "round_robin", "prefix", "round_robin",
    ]  # fmt: skip
    assert "\x1b" not in result.stdout
    assert "prefix-router 1.2" in report.read_text()


def test_the_capacity_can_be_given(trace: str) -> None:
    result = run(trace, "--policy=prefix", "--load=0.5", "--capacity=3")
    assert result.exit_code == 0, result.output
    assert "\nload 0.5: 1.5x the trace's own speed, " in result.stdout
    assert result.stderr == ""


def test_several_routers(trace: str, tmp_path: Path) -> None:
    report, figures = tmp_path / "report.html", tmp_path / "figures.json"
    result = run(trace, "--policy=prefix,round_robin", "--speed=1.5", "--routers=3", "--sharing-ms=20",
                 f"--report={report}", f"--json={figures}")  # fmt: skip
    assert result.exit_code == 0, result.output
    before = "3 routers that share what they know after 20 ms"
    said = " ".join(result.stdout.split())
    assert said.count(before) == 2  # the setting, and above the table
    assert report.read_text().count(before) == 3
    scenario = json.loads(figures.read_text())["scenario"]
    assert (scenario["routers"], scenario["sharing"], scenario["sharing_s"]) == (3, "all", 0.02)


def test_speeds_instead_of_loads(trace: str) -> None:
    result = run(trace, "--policy=prefix", "--speed=1.5,2")
    assert result.exit_code == 0, result.output
    assert "\n1.5x the trace's own speed, " in result.stdout
    assert "\n2x the trace's own speed, " in result.stdout
    assert result.stderr == ""


def test_processes_change_nothing(trace: str) -> None:
    options = (trace, "--policy=prefix,random", "--speed=2,4", "--outage=1=1:3", "--slow=0=0.5")
    one, two = run(*options, "--jobs=1"), run(*options, "--jobs=2")
    assert one.exit_code == 0, one.output
    assert (one.stdout, one.stderr) == (two.stdout, two.stderr) != ("", "")


def test_a_load_is_shown_when_it_is_done(trace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(work: Workload, task: Task) -> Outcome:
        if task.speed == 3.0:
            raise KeyboardInterrupt
        return simulate_one(work, task)

    monkeypatch.setattr("router.simulate.study.simulate", interrupted)
    result = run(trace, "--policy=prefix,random", "--speed=1,2,3,4")
    assert result.exit_code == 1
    assert result.stderr.strip() == "Aborted!"
    speeds = [line.split()[0] for line in result.stdout.splitlines() if "own speed" in line]
    assert speeds == ["1x", "2x"]


def test_by_default_there_is_a_process_for_each_core(
    trace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def processes(workload: object, jobs: int) -> None:
        asked.append(jobs)
        raise LookupError

    monkeypatch.setattr(main_module, "available_cores", lambda: 5)
    monkeypatch.setattr(main_module, "Processes", processes)
    CliRunner().invoke(simulate, [trace])
    assert asked == [5]


def test_the_list() -> None:
    result = run("--list")
    assert result.exit_code == 0
    assert "  lmetric " in result.stdout


def test_large_requests_are_left_out(tmp_path: Path) -> None:
    path = trace_file(tmp_path / "some.jsonl", requests=20)
    large = trace_file(tmp_path / "large.jsonl", requests=1, tokens=400_000)
    path.write_text(path.read_text() + large.read_text())
    result = run(str(path), "--policy=prefix", "--speed=1")
    assert result.exit_code == 0, result.output
    assert result.stderr == (
        "1 of 21 requests are left out: they need more than 90 % of the KV cache of h100-8b, or follow such ones\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "TRACE is missing: a file, or a generator of --list"),
        (["chta"], "chta: no such file, and no generator of that name; did you mean 'chat'?"),
        (["TRACE", "--workers=0"], "--workers: 0 is not at least 1"),
        (["TRACE", "--routers=0"], "--routers: 0 is not at least 1"),
        (["TRACE", "--sharing=some"], "--sharing: 'some' is none of all, nothing"),
        (["TRACE", "--sharing-ms=0"], "--sharing-ms: 0 is not above 0"),
        (["TRACE", "--jobs=0"], "--jobs: 0 is not at least 1"),
        (["TRACE", "--block-tokens=0"], "--block-tokens: 0 is not at least 1"),
        (["TRACE", "--report=a", "--json=a"], "a: --report and --json would write the same file"),
        (["TRACE", "--load=-0.4"], "--load: -0.4 is not above 0"),
        (["TRACE", "--capacity=0"], "--capacity: 0 is not above 0"),
        (["TRACE", "--metrics-age=0"], "--metrics-age: 0 is not above 0"),
        (["TRACE", "--speed=1", "--load=1"], "--speed goes with neither --load nor --capacity"),
        (["TRACE", "--speed=1", "--capacity=1"], "--speed goes with neither --load nor --capacity"),
        (["TRACE", "--hardware=l4"], "--hardware: 'l4' is none of h100-8b, h100x4-70b, l4-8b; did you mean 'l4-8b'?"),
        (["TRACE", "--slow=8=0.5"], "--slow: no worker 8; they are 0 to 7"),
        (["TRACE", "--report=/no/such/a.html"], "/no/such/a.html: there is no such folder"),
        (["TRACE", "--json=/no/such/a.json"], "/no/such/a.json: there is no such folder"),
    ],
)  # fmt: skip
def test_mistakes_end_it_with_2_and_one_line(
    trace: str, arguments: list[str], message: str
) -> None:
    result = run(*(trace if argument == "TRACE" else argument for argument in arguments))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == f"Error: {message}\n"


def test_nothing_fits(tmp_path: Path) -> None:
    path = trace_file(tmp_path / "large.jsonl", tokens=400_000)
    result = run(str(path))
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: large: every session begins with requests that need more than 90 % of the KV cache of h100-8b\n"
    )


def test_no_load_is_too_much(tmp_path: Path) -> None:
    result = run(str(trace_file(tmp_path / "light.jsonl", requests=5)))
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "Error: light: at any speed the mean time to first token is below the objective of 2 s; "
        "give --speed instead of --load"
    )


def test_a_file_that_cannot_be_written(trace: str, tmp_path: Path) -> None:
    result = run(trace, "--policy=prefix", "--speed=1", f"--json={tmp_path / ('x' * 300)}")
    assert result.exit_code == 2
    assert result.stderr.endswith(": File name too long\n")
    assert "\nprefix " in result.stdout  # it is shown all the same
