"""What to do about a model that does not fit (pure)."""

from collections.abc import Iterator
from dataclasses import replace

from router.sizing.gpus import GPUS, LINKS
from router.sizing.memory import at_once, memory
from router.sizing.model import Model
from router.sizing.plan import NODE, Hardware, plan, sizes
from router.sizing.workload import Workload


def remedies(model: Model, hardware: Hardware, wanted: Workload, tp: int | None) -> list[str]:
    """Each change that would do alone, in words."""
    found = [
        *_more_gpus(model, hardware, wanted, tp),
        *_smaller(model, hardware, wanted, tp),
        *_shorter(model, hardware, wanted, tp),
        *_larger(model, hardware, wanted, tp),
    ]
    return found or [
        "no GPU in --list holds it in one machine: it needs several (pipeline parallelism)"
    ]


def _more_gpus(model: Model, hardware: Hardware, wanted: Workload, tp: int | None) -> Iterator[str]:
    """More GPUs, another size than was asked for, or both."""
    compared = plan(model, hardware, wanted)
    smallest, there = compared.smallest, hardware.gpus
    if smallest is None:
        return
    if tp is None:
        if smallest > there:
            yield f"--gpus {smallest}: it fits with tensor parallelism over {smallest}"
        return
    if smallest != tp:
        yield f"--tp {smallest}" + (f" --gpus {smallest}" if smallest > there else "")
    if tp > there and any(each.tp == tp and each.fits for each in compared.options):
        yield f"--gpus {tp}"


def _smaller(model: Model, hardware: Hardware, wanted: Workload, tp: int | None) -> Iterator[str]:
    """In fewer bytes: on the same GPUs or, if that is not enough, on fewer more of them."""
    smallest = plan(model, hardware, wanted).smallest or NODE + 1
    for weights, kv in (("fp8", None), ("int4", None), (None, "fp8")):
        other = model.stored(weights, kv)
        smaller = other.weights.bytes < model.weights.bytes
        if not (smaller and other.weights.name != model.weights.name) and other.kv == model.kv:
            continue
        words = f"--weights {weights}" if weights else f"--kv {kv}"
        least = plan(other, hardware, wanted).smallest or NODE + 1
        if plan(other, hardware, wanted, tp).fits:
            yield words
        elif least < smallest:
            size = f" --tp {least}" if tp not in (None, least) else ""
            yield f"{words}{size}" + (f" --gpus {least}" if least > hardware.gpus else "")


def _shorter(model: Model, hardware: Hardware, wanted: Workload, tp: int | None) -> Iterator[str]:
    """The longest context that fits the most GPUs, where there is one worth having."""
    usable = [each for each in sizes(model) if each <= hardware.gpus and tp in (None, each)]
    if not usable:
        return
    most = usable[-1]
    room = memory(model, hardware.gpu, most, hardware.utilization, hardware.reserve_gib).kv
    low, high = 0, wanted.context
    while low < high:
        middle = -(-(low + high) // 2)
        fits = at_once(model, most, room, middle + wanted.output)
        low, high = (middle, high) if fits is None or fits else (low, middle - 1)
    if low >= 1024:
        yield f"--context {low // 1024 * 1024}"


def _larger(model: Model, hardware: Hardware, wanted: Workload, tp: int | None) -> Iterator[str]:
    """The smallest GPU that does, as many of them."""
    by_memory = sorted(GPUS.values(), key=lambda each: each.memory_gib)
    for gpu in by_memory:
        if gpu.memory_gib > hardware.gpu.memory_gib:
            other = replace(hardware, gpu=gpu, link=LINKS[gpu.link])
            if plan(model, other, wanted, tp).fits:
                yield f"--gpu {gpu.name}"
                return
