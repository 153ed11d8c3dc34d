"""`prefix-router simulate` as click sees it. The simulator itself is imported when it is used."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

_FILE = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class Options:
    """What was given, not yet looked at."""

    trace: str | None
    workers: int | None
    hardware: str
    policies: str
    loads: str | None
    capacity: str | None
    speeds: str | None
    seed: int
    slow: tuple[str, ...]
    outages: tuple[str, ...]
    metrics_age: str
    knowledge: str
    routers: int
    sharing: str
    sharing_ms: str
    block_tokens: int | None
    report: Path | None
    json_file: Path | None
    jobs: int | None
    show_list: bool


@click.command()
@click.argument("trace", required=False)
@click.option(
    "--workers", type=int, metavar="N", help="Simulated workers.  [default: what suits the trace]"
)
@click.option(
    "--hardware",
    default="h100-8b",
    show_default=True,
    metavar="NAME",
    help="What each of them runs on; see --list.",
)
@click.option(
    "--policy",
    "policies",
    default="prefix,lmetric,cache_aware,round_robin",
    show_default=True,
    metavar="NAME,…",
    help="Policies to compare, the others with the first; see --list.",
)
@click.option(
    "--load",
    "loads",
    metavar="X,…",
    help="How busy the fleet is; at 1 it can just keep up.  [default: 0.4,0.8,1.1]",
)
@click.option("--capacity", metavar="X", help="The speed of load 1, as an earlier run found it.")
@click.option(
    "--speed",
    "speeds",
    metavar="X,…",
    help="Instead of loads: how many times as fast as in TRACE sessions arrive.",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Of the generator, and of what policies draw by lot.",
)
@click.option(
    "--slow",
    multiple=True,
    metavar="N=SPEED",
    help="Worker N (from 0) has this share of the hardware's speed; repeatable.",
)
@click.option(
    "--outage",
    "outages",
    multiple=True,
    metavar="N=START:END",
    help="Worker N is down from second START to END of the run; repeatable.",
)
@click.option(
    "--metrics-age",
    default="0.05",
    show_default=True,
    metavar="SECONDS",
    help="Workers' metrics are read this often: they are up to this old.",
)
@click.option(
    "--knowledge",
    default="both",
    show_default=True,
    metavar="KIND",
    help="What the index goes by: events (of the workers' caches), predictions, both, none.",
)
@click.option(
    "--routers",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Routers before the workers; each request goes to one of them by lot.",
)
@click.option(
    "--sharing",
    default="all",
    show_default=True,
    metavar="KIND",
    help="What several routers tell each other, as through a Redis: all, nothing.",
)
@click.option(
    "--sharing-ms",
    default="5",
    show_default=True,
    metavar="MS",
    help="After so long one router sees what another told.",
)
@click.option(
    "--block-tokens",
    type=int,
    metavar="N",
    help="Tokens per block id of a trace file.  [default: 512; of sessions 64]",
)
@click.option("--report", type=_FILE, metavar="FILE", help="Write an HTML page with charts.")
@click.option("--json", "json_file", type=_FILE, metavar="FILE", help="Write the figures as JSON.")
@click.option("--jobs", type=int, metavar="N", help="Runs at a time.  [default: all cores]")
@click.option(
    "--list",
    "show_list",
    is_flag=True,
    help="Show the generators, policies and hardware there are.",
)
@click.pass_obj
def simulate(version: str | None, /, **given: Any) -> None:
    """Compare routing policies on a trace, without a GPU.

    \b
    prefix-router simulate chat --load 0.8,1.1 --report report.html
    prefix-router simulate requests.jsonl --workers 8 --policy prefix,round_robin --slow 0=0.3

    TRACE is a file with one request per line (Mooncake's format, or sessions of coding agents; plain or gzip), or
    a generator: chat, rag, agent, viral, none, tenants, decode. Nothing is sent anywhere: the router's own code
    decides, simulated workers answer. Their hardware is an estimate, so compare policies, not milliseconds.

    A load of 1 is the speed of arrivals at which the mean time to first token under LMetric is the hardware's
    objective. Finding it takes several runs; what was found is printed, for --capacity.
    """
    from router.simulate.main import main  # noqa: PLC0415 - the other commands do without

    main(Options(**given), version or "")
