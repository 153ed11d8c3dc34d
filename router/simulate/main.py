"""`prefix-router simulate`, from what was given to what is shown."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from router.simulate import arguments
from router.simulate.arguments import Mistake
from router.simulate.capacity import CapacityError, speed_of_load_1
from router.simulate.command import Options
from router.simulate.listing import listing
from router.simulate.processes import Processes, available_cores, quiet
from router.simulate.progress import Ticker
from router.simulate.report_html import as_html
from router.simulate.report_json import as_json
from router.simulate.scenario import Scenario, too_large
from router.simulate.study import Plan, Study, pace, study
from router.simulate.table import text_table, wrapped_legend
from router.simulate.workload import Workload

_LOADS = "0.4,0.8,1.1"


def main(options: Options, version: str) -> None:
    """Simulate and show; `version` is the program's. Raises `Mistake` for what is wrong with the options or the trace."""
    if options.show_list:
        click.echo(listing())
        return
    _check(options)
    assert options.trace is not None
    workload = arguments.workload(options.trace, options.seed)
    scenario = _scenario(options, workload)
    plan = _plan(options, scenario)
    ticker = Ticker()
    _require_fitting(workload, scenario, ticker.say)
    jobs = options.jobs or available_cores()
    with quiet(), Processes(workload, jobs) as processes, ticker:
        if plan.capacity is None and options.speeds is None:
            plan = replace(plan, capacity=_load_1(plan, workload, processes, ticker))
        ticker.begin("simulating", len(plan.tasks()))
        done = study(workload, plan, processes, lambda _: ticker.advance())
    _show(done)
    if options.json_file is not None:
        _write(options.json_file, as_json(done, version))
    if options.report is not None:
        _write(options.report, as_html(done, version))


def _check(options: Options) -> None:
    """What can be said before anything is read."""
    if options.trace is None:
        raise Mistake("TRACE is missing: a file, or a generator of --list")
    if options.workers is not None and options.workers < 1:
        raise Mistake(f"--workers: {options.workers} is not at least 1")
    if options.jobs is not None and options.jobs < 1:
        raise Mistake(f"--jobs: {options.jobs} is not at least 1")
    if options.speeds is not None and (options.loads is not None or options.capacity is not None):
        raise Mistake("--speed goes with neither --load nor --capacity")
    for file in (options.report, options.json_file):
        if file is not None and not file.absolute().parent.is_dir():
            raise Mistake(f"{file}: there is no such folder")


def _scenario(options: Options, workload: Workload) -> Scenario:
    workers = options.workers or workload.workers
    return Scenario(
        arguments.hardware(options.hardware),
        workers,
        options.seed,
        arguments.knowledge(options.knowledge),
        arguments.positive("--metrics-age", options.metrics_age),
        arguments.slow(options.slow, workers),
        arguments.outages(options.outages, workers),
    )


def _plan(options: Options, scenario: Scenario) -> Plan:
    policies = arguments.policies(options.policies)
    if options.speeds is not None:
        return Plan(scenario, policies, arguments.numbers("--speed", options.speeds))
    loads = arguments.numbers("--load", options.loads or _LOADS)
    capacity = options.capacity and arguments.positive("--capacity", options.capacity)
    return Plan(scenario, policies, loads, capacity or None)


def _require_fitting(workload: Workload, scenario: Scenario, say: Callable[[str], None]) -> None:
    requests = sum(1 for _ in workload.calls())
    large = too_large(workload, scenario.hardware)
    what = f"need more than 90 % of the KV cache of {scenario.hardware.name}"
    if large == requests:
        raise Mistake(f"{workload.name}: all {requests} requests {what}")
    if large:
        say(f"{large} of {requests} requests {what} and are left out")


def _load_1(plan: Plan, workload: Workload, processes: Processes, ticker: Ticker) -> float:
    ticker.begin("finding load 1.0")
    if not ticker.visible:
        ticker.say("finding load 1.0 …")
    try:
        capacity = speed_of_load_1(workload, plan.scenario, processes)
    except CapacityError as error:
        raise Mistake(f"{workload.name}: {error}; give --speed instead of --load") from None
    speed = f"{capacity:g}x the trace's own speed, {pace(workload, capacity)}"
    ticker.say(f"load 1.0 = {speed} (next time: --capacity {capacity:g})")
    return capacity


def _show(done: Study) -> None:
    for outcomes in done.levels():
        click.echo(f"{text_table(done, outcomes)}\n")
    click.echo(wrapped_legend(done.plan.scenario.hardware))


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Mistake(f"{file}: {error.strerror}") from None
    click.echo(f"wrote {file}", err=True)
