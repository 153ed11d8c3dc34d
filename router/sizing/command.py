"""`prefix-router size` as click sees it."""

import json
from math import isfinite
from pathlib import Path
from typing import Any

import click

from router.sizing.fields import ConfigError
from router.sizing.figures import figures
from router.sizing.formats import FORMATS, KV_BYTES
from router.sizing.formulas import formulas
from router.sizing.gpus import GPUS, INSTANCES, LINKS, network_gbit
from router.sizing.listing import listing
from router.sizing.model import Model, read_model
from router.sizing.plan import NODE, Hardware
from router.sizing.remedies import remedies
from router.sizing.sizing import Around, answer
from router.sizing.table import table
from router.sizing.workload import Workload

_CPU_GIB = 64.0
_COUNT = click.IntRange(1, 10**9)


class _Finite(click.FloatRange):
    """A number that is one: click takes `nan` and `inf`, too. Such as no machine has are refused with them."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not isfinite(number) or number > _MOST or 0 < number < 1 / _MOST:
            self.fail(f"{value!r} is not a number that means something here.", param, ctx)
        return number


_MOST = 1e9
_ABOVE_0 = _Finite(0, min_open=True)


@click.command()
@click.option(
    "--model-config",
    "config",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="The model's config.json, or the directory that it is in; - reads standard input.",
)
@click.option("--gpu", metavar="NAME", help="A GPU or an AWS instance; see --list.")
@click.option(
    "--gpus",
    type=click.IntRange(1, NODE),
    metavar="N",
    help="GPUs in the machine.  [default: 1, or the instance's]",
)
@click.option(
    "--tp",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "1", "2", "4", "8"]),
    help="GPUs that share a worker.",
)
@click.option(
    "--context",
    type=_COUNT,
    metavar="N",
    default=20_000,
    show_default=True,
    help="Tokens per prompt.",
)
@click.option(
    "--output", type=_COUNT, metavar="N", default=500, show_default=True, help="Tokens per answer."
)
@click.option(
    "--concurrency",
    type=_COUNT,
    metavar="N",
    default=32,
    show_default=True,
    help="Requests in progress.",
)
@click.option("--rate", type=_ABOVE_0, metavar="X", help="Requests/s to find the workers for.")
@click.option(
    "--shared-prefix",
    "shared",
    type=_Finite(0, 1),
    metavar="X",
    default=0.6,
    show_default=True,
    help="Share of a prompt that others begin with too.",
)
@click.option(
    "--prefixes",
    type=_COUNT,
    metavar="N",
    default=100,
    show_default=True,
    help="How many such beginnings are in use.",
)
@click.option("--weights", type=click.Choice(list(FORMATS)), help="[default: the checkpoint's]")
@click.option(
    "--kv", type=click.Choice(list(KV_BYTES)), help="[default: the checkpoint's, or bf16]"
)
@click.option(
    "--utilization",
    type=_Finite(0, 1, min_open=True),
    metavar="X",
    default=0.92,
    show_default=True,
    help="vLLM's --gpu-memory-utilization.",
)
@click.option(
    "--reserve",
    type=_Finite(0),
    metavar="GIB",
    help="Of each GPU beside weights and KV cache, as vLLM's log has it.  [default: estimated]",
)
@click.option(
    "--cpu-gib",
    type=_Finite(0),
    metavar="X",
    help="CPU memory for LMCache.  [default: 64, or half of the instance's]",
)
@click.option(
    "--interconnect",
    type=click.Choice(list(LINKS)),
    help="Between the GPUs.  [default: the GPU's]",
)
@click.option(
    "--network",
    type=_ABOVE_0,
    metavar="GBIT",
    help="Gbit/s per GPU.  [default: the instance's]",
)
@click.option(
    "--ttft",
    type=_ABOVE_0,
    metavar="SECONDS",
    default=1.0,
    show_default=True,
    help="Objective for the first token.",
)
@click.option(
    "--tpot",
    type=_ABOVE_0,
    metavar="SECONDS",
    default=0.05,
    show_default=True,
    help="And for each further one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--formulas", "show_formulas", is_flag=True, help="Show how they are calculated.")
@click.option("--list", "show_list", is_flag=True, help="Show the GPUs and formats there are.")
def size(**given: Any) -> None:
    """Say what a model needs of GPUs: what fits, how fast, how many workers, which extras pay.

    \b
    prefix-router size --model-config config.json --gpu l40s --context 8000
    prefix-router size --model-config config.json --gpu g6e.12xlarge --rate 2 --formulas

    Memory is counted from the model's config; speeds are estimates from the data sheets. Nothing is downloaded or
    sent. Ends with 1 when the model does not fit, with what to change.
    """
    if given["show_list"]:
        click.echo(listing())
        return
    if given["config"] is None or given["gpu"] is None:
        raise click.UsageError("Give --model-config FILE and --gpu NAME.")
    if given["as_json"] and given["show_formulas"]:
        raise click.UsageError("--formulas are for people: leave --json out.")
    given["gpu"] = given["gpu"].lower()
    model = _model(given["config"], given["weights"]).stored(None, given["kv"])
    hardware, wanted = _hardware(given), _workload(given)
    tp = None if given["tp"] == "auto" else int(given["tp"])
    try:
        sizing = answer(model, hardware, wanted, _around(given), tp)
    except ValueError as error:
        raise click.UsageError(f"--tp: {error}.") from None
    changes = [] if sizing.plan.fits else remedies(model, hardware, sizing.wanted, tp)
    if given["as_json"]:
        click.echo(json.dumps(figures(sizing, changes), indent=2, allow_nan=False))
    else:
        click.echo(table(sizing, changes))
        if given["show_formulas"]:
            click.echo("\n" + formulas(sizing))
    if not sizing.plan.fits:
        click.get_current_context().exit(1)


def _model(path: Path, weights: str | None) -> Model:
    """The file's model; what is wrong with it ends the command."""
    if path.is_dir():
        path /= "config.json"
    try:
        with click.open_file(str(path), "rb") as file:
            content = json.load(file)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # neither JSON nor text, or endlessly deep
        raise click.ClickException(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise click.ClickException(f"{path} is not an object, as a config.json is")
    try:
        return read_model(content, weights)
    except ConfigError as error:
        raise click.ClickException(f"{path}: {error}.") from None


def _hardware(given: dict[str, Any]) -> Hardware:
    instance = INSTANCES.get(given["gpu"])
    gpu = GPUS.get(instance.gpu if instance else given["gpu"])
    if gpu is None:
        known = ", ".join([*GPUS, "or an AWS instance of --list"])
        raise click.UsageError(f"--gpu {given['gpu']!r} is not known: {known}.")
    link = LINKS[given["interconnect"] or gpu.link]
    gpus = given["gpus"] or (instance.gpus if instance else 1)
    return Hardware(gpu, link, gpus, given["utilization"], given["reserve"])


def _around(given: dict[str, Any]) -> Around:
    instance = INSTANCES.get(given["gpu"])
    cpu = given["cpu_gib"]
    if cpu is None:
        cpu = instance.cpu_gib / 2 if instance else _CPU_GIB
    gpu = instance.gpu if instance else given["gpu"]
    return Around(cpu, given["network"] or network_gbit(gpu, instance))


def _workload(given: dict[str, Any]) -> Workload:
    return Workload(
        context=given["context"],
        output=given["output"],
        concurrency=given["concurrency"],
        rate=given["rate"],
        shared=given["shared"],
        prefixes=given["prefixes"],
        ttft_s=given["ttft"],
        tpot_s=given["tpot"],
    )
