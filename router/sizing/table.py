"""The answer as plain text: read from top to bottom, nothing is said by colour or position alone (pure)."""

import textwrap
from collections.abc import Iterator, Sequence

from router.sizing import text
from router.sizing.cautions import cautions
from router.sizing.fleet import capacity
from router.sizing.gpus import Link
from router.sizing.plan import NODE
from router.sizing.sections import Section, sections
from router.sizing.sizing import Sizing
from router.sizing.worker import Worker
from router.sizing.workload import Workload

_WIDTH = 100
LEGEND = "~ before a figure: an estimate. All others are arithmetic on the config and the GPU."


def table(sizing: Sizing, remedies: Sequence[str]) -> str:
    """What `prefix-router size` prints."""
    parts = [verdict(sizing)]
    if remedies:
        parts.append("\n".join(["Any of these does:", *(f"  {each}" for each in remedies)]))
    found = list(sections(sizing))
    width = max(len(line.label) for section in found for line in section.lines)
    parts.extend(_section(section, width) for section in found)
    parts.append(_sizes(sizing))
    parts.extend(_wrapped(f"Assumed: {each}.") for each in sizing.model.assumed)
    parts.append(LEGEND)
    return "\n\n".join(parts)


def verdict(sizing: Sizing) -> str:
    """Whether it fits, what to start, and why so."""
    worker, hardware, wanted = sizing.worker, sizing.hardware, sizing.wanted
    many = f"{hardware.gpus} x {hardware.gpu.name} ({hardware.link.name})"
    warnings = [f"Warning: {each}." for each in cautions(sizing)]
    if not sizing.plan.fits:
        said = f"{sizing.model.name} on {many}: does not fit. {_why_not(sizing)}"
        return "\n".join([said, *map(_wrapped, warnings)])
    count = "1 worker" if worker.workers == 1 else f"{worker.workers} workers"
    lines = [f"{sizing.model.name} on {many}: fits, {count} of TP {worker.tp}."]
    lines.append(_asked(wanted))
    lines.append(f"TP {worker.tp}: {sizing.plan.why}.")
    return "\n".join(map(_wrapped, [*lines, *warnings]))


def _asked(wanted: Workload) -> str:
    tokens = f"{wanted.context:,} + {wanted.output:,}" if wanted.output else f"{wanted.context:,}"
    shared = ""
    if wanted.prefix_tokens:
        share = text.share(wanted.shared)
        shared = f", {share} of each prompt one of {wanted.prefixes:,} prefixes"
    return f"Asked: {tokens} tokens, {wanted.concurrency:,} requests at once{shared}."


def _why_not(sizing: Sizing) -> str:
    worker, room = sizing.worker, sizing.worker.memory
    if worker.fits:
        return f"It needs {worker.tp} GPUs."
    needs = room.weights + room.reserve
    if needs > room.usable:
        return (
            f"Weights and reserve take {text.gib(needs)} of each GPU's {text.gib(room.usable)} "
            f"with TP {worker.tp}."
        )
    return (
        f"The KV cache of {text.gib(room.kv)} holds {worker.kv_tokens:,} tokens, "
        f"a request has {sizing.wanted.tokens:,}."
    )


def _wrapped(line: str) -> str:
    return textwrap.fill(line, _WIDTH, break_on_hyphens=False)


def _section(section: Section, width: int) -> str:
    lines = [section.title]
    for label, value, note, estimate in section.lines:
        head = f"  {label:{width}} {'~' if estimate else ' '} {value}"
        hang = " " * (width + 25)
        whole = f"{head:{width + 24}} {note}" if note else head
        lines.append(
            textwrap.fill(whole.rstrip(), _WIDTH, subsequent_indent=hang, break_on_hyphens=False)
        )
    return "\n".join(lines)


_TITLES = (
    "TP",
    "workers",
    "KV tokens",
    "at once",
    "cold",
    "TTFT",
    "TPOT",
    "req/s",
    "talk",
)


def _sizes(sizing: Sizing) -> str:
    """Every tensor parallel size beside the others."""
    rows = [_TITLES, *(_row(worker) for worker in sizing.plan.options)]
    notes = ["", *(_note(worker) for worker in sizing.plan.options)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_TITLES))]
    lines = ["Tensor parallel sizes (estimates)"]
    for row, note in zip(rows, notes, strict=True):
        cells = "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        lines.append(f"  {cells}  {note}".rstrip())
    lines.append(_wrapped(_talk(sizing)))
    return "\n".join(lines)


def _row(worker: Worker) -> tuple[str, ...]:
    head = (str(worker.tp), str(worker.workers))
    if not worker.fits:
        return (*head, *("-",) * (len(_TITLES) - 2))
    talk = worker.speed.reduce_s(worker.wanted.context) / worker.cold_s
    return (
        *head,
        "-" if worker.at_once is None else text.rounded(worker.kv_tokens),
        "any" if worker.at_once is None else f"{worker.at_once:,}",
        text.seconds(worker.cold_s),
        text.seconds(worker.warm_s),
        text.seconds(worker.tpot_s) if worker.wanted.output else "-",
        text.rate(capacity(worker, worker.workers, by_prefix=True)) if worker.workers else "-",
        text.share(talk),
    )


def _note(worker: Worker) -> str:
    if not worker.fits:
        return "does not fit"
    missed = [each.replace("concurrency", "room") for each in worker.misses()]
    met = f"misses {', '.join(missed)}" if missed else "meets all"
    return met if worker.workers else f"{met}; {worker.tp} GPUs"


def _talk(sizing: Sizing) -> str:
    hardware = sizing.hardware
    over, beyond = _over(hardware.link), hardware.link_of(NODE)
    if beyond != hardware.link:
        over += f" ({hardware.gpu.linked} GPUs; more of them over {_over(beyond)})"
    return (
        "At once: per worker, sharing nothing. Cold: TTFT where nothing is cached; TTFT: where the shared prefix is. "
        "req/s: of all workers, by prefix. Talk: the share of the cold one that goes to all-reduces, two per layer, "
        f"over {over}. Room: for all requests at once."
    )


def _over(link: Link) -> str:
    kind = "PCIe" if link.name.startswith("pcie") else "NVLink" if "nv" in link.name else "xGMI"
    return f"{kind} at {link.bytes_per_s / 1e9:g} GB/s each way"


def listing_lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns side by side, the first to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [f"{row[0]:{widths[0]}}"]
        cells += [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  " + "  ".join(cells).rstrip()
