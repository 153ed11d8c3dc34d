"""`prefix-router simulate`, from what was given to what is shown."""

from collections.abc import Callable
from pathlib import Path

import click

from router.simulate import arguments
from router.simulate.arguments import Mistake
from router.simulate.capacity import CapacityError, speed_of_load_1
from router.simulate.command import Options
from router.simulate.hardware import Hardware
from router.simulate.listing import listing
from router.simulate.outcome import Outcome
from router.simulate.processes import Processes, available_cores, quiet
from router.simulate.progress import Ticker
from router.simulate.report_html import as_html
from router.simulate.report_json import as_json
from router.simulate.scenario import Scenario, left_out
from router.simulate.study import Plan, Study, pace, setting, study
from router.simulate.table import legend, text_table, wrapped
from router.simulate.workload import Workload

_LOADS = "0.4,0.8,1.1"


def main(options: Options, version: str) -> None:
    """Simulate and show; `version` is the program's. Raises `Mistake` for what is wrong with the options or the trace."""
    if options.show_list:
        click.echo(listing())
        return
    _check(options)
    levels = _levels(options)
    policies = arguments.policies(options.policies)
    hardware = arguments.hardware(options.hardware)
    assert options.trace is not None
    workload = arguments.workload(options.trace, options.seed, options.block_tokens)
    scenario = _scenario(options, hardware, options.workers or workload.workers)
    ticker = Ticker()
    _require_fitting(workload, hardware, ticker.say)
    click.echo(f"{wrapped(setting(workload, scenario))}\n")
    jobs = options.jobs or available_cores()
    with quiet(), Processes(workload, jobs) as processes, ticker:
        capacity = _capacity(options, workload, scenario, processes, ticker)
        done = _study(workload, Plan(scenario, policies, levels, capacity), processes, ticker)
    click.echo(wrapped(legend(hardware)))
    if options.json_file is not None:
        _write(options.json_file, as_json(done, version))
    if options.report is not None:
        _write(options.report, as_html(done, version))


def _check(options: Options) -> None:
    """What can be said before anything is read."""
    if options.trace is None:
        raise Mistake("TRACE is missing: a file, or a generator of --list")
    arguments.at_least_1("--workers", options.workers)
    arguments.at_least_1("--routers", options.routers)
    arguments.at_least_1("--jobs", options.jobs)
    arguments.at_least_1("--block-tokens", options.block_tokens)
    if options.speeds is not None and (options.loads is not None or options.capacity is not None):
        raise Mistake("--speed goes with neither --load nor --capacity")
    if options.capacity is not None:
        arguments.positive("--capacity", options.capacity)
    if options.report is not None and options.report == options.json_file:
        raise Mistake(f"{options.report}: --report and --json would write the same file")
    for file in (options.report, options.json_file):
        if file is not None and not file.absolute().parent.is_dir():
            raise Mistake(f"{file}: there is no such folder")


def _levels(options: Options) -> list[float]:
    """Speeds where they are given, else loads."""
    if options.speeds is not None:
        return arguments.numbers("--speed", options.speeds)
    return arguments.numbers("--load", options.loads or _LOADS)


def _scenario(options: Options, hardware: Hardware, workers: int) -> Scenario:
    return Scenario(
        hardware,
        workers,
        options.seed,
        arguments.knowledge(options.knowledge),
        arguments.positive("--metrics-age", options.metrics_age),
        arguments.slow(options.slow, workers),
        arguments.outages(options.outages, workers),
        options.routers,
        arguments.sharing(options.sharing),
        arguments.positive("--sharing-ms", options.sharing_ms) / 1000,
    )


def _require_fitting(workload: Workload, hardware: Hardware, say: Callable[[str], None]) -> None:
    requests = sum(1 for _ in workload.calls())
    out = left_out(workload, hardware)
    what = f"more than 90 % of the KV cache of {hardware.name}"
    if out == requests:
        raise Mistake(f"{workload.name}: every session begins with requests that need {what}")
    if out:
        say(f"{out:,} of {requests:,} requests are left out: they need {what}, or follow such ones")


def _capacity(
    options: Options,
    workload: Workload,
    scenario: Scenario,
    processes: Processes,
    ticker: Ticker,
) -> float | None:
    """The speed of a load of 1, given or found; None if levels are speeds."""
    if options.speeds is not None:
        return None
    if options.capacity is not None:
        return arguments.positive("--capacity", options.capacity)
    ticker.begin("finding load 1.0")
    if not ticker.visible:
        ticker.say("finding load 1.0 …")
    try:
        capacity = speed_of_load_1(workload, scenario, processes)
    except CapacityError as error:
        raise Mistake(f"{workload.name}: {error}; give --speed instead of --load") from None
    speed = f"{capacity:g}x the trace's own speed, {pace(workload, capacity)}"
    ticker.say(f"load 1.0 = {speed} (next time: --capacity {capacity:g})")
    return capacity


def _study(workload: Workload, plan: Plan, processes: Processes, ticker: Ticker) -> Study:
    """Carry out the plan, and show each level when it is done."""
    level: list[Outcome] = []

    def show(outcome: Outcome) -> None:
        ticker.advance()
        level.append(outcome)
        if len(level) == len(plan.policies):
            with ticker.aside():
                click.echo(f"{text_table(workload, level)}\n")
            level.clear()

    ticker.begin("simulating", len(plan.tasks()))
    return study(workload, plan, processes, show)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Mistake(f"{file}: {error.strerror}") from None
    click.echo(f"wrote {file}", err=True)
