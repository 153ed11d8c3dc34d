"""Which tensor parallel size to take (pure)."""

from dataclasses import dataclass

from router.sizing.fleet import capacity
from router.sizing.gpus import LINKS, Gpu, Link
from router.sizing.memory import memory
from router.sizing.model import Model
from router.sizing.speed import Speed
from router.sizing.worker import Worker, build
from router.sizing.workload import Workload

NODE = 8
"""GPUs in one machine: tensor parallelism does not go further here."""

NEARLY = 0.9
"""Of the most requests/s: less of a difference is within the estimate's error."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Every size that the model can be cut into, and the one to take."""

    options: tuple[Worker, ...]
    chosen: Worker
    smallest: int | None
    """The smallest size that fits; None: no machine with these GPUs holds the model."""
    why: str

    @property
    def fits(self) -> bool:
        """Whether the chosen size fits, and there are GPUs for it."""
        return self.chosen.fits and self.chosen.workers > 0


def sizes(model: Model) -> list[int]:
    """Powers of two up to a machine's GPUs that vLLM can cut the model into: heads must divide."""
    kinds = (model.full, model.windowed)
    return [
        tp
        for tp in (1, 2, 4, 8)
        if tp <= NODE
        and all(each.query % tp == 0 for each in kinds)
        and (model.latent or all(each.kv % tp == 0 or tp % each.kv == 0 for each in kinds))
    ]


@dataclass(frozen=True, slots=True)
class Hardware:
    """What there is."""

    gpu: Gpu
    link: Link
    gpus: int
    utilization: float
    reserve_gib: float | None = None
    """Of each GPU beside weights and KV cache; None: estimated."""

    def link_of(self, tp: int) -> Link:
        """What `tp` GPUs talk over: bridges join pairs only, and a ring is as fast as its slowest part."""
        bridged = self.link.name == self.gpu.link and tp > self.gpu.linked
        return LINKS[self.gpu.host] if bridged else self.link


def plan(model: Model, hardware: Hardware, wanted: Workload, tp: int | None = None) -> Plan:
    """Compare the sizes; `tp` says which one to take. Raises ValueError where the model cannot be cut so."""
    possible = sizes(model)
    if tp is not None and tp not in possible:
        raise ValueError(
            f"{model.full.query} heads and {model.full.kv} KV heads can be cut into "
            f"{', '.join(map(str, possible))}, not into {tp}"
        )
    options = tuple(
        build(
            Speed(model, hardware.gpu, hardware.link_of(size), size),
            memory(model, hardware.gpu, size, hardware.utilization, hardware.reserve_gib),
            hardware.gpus,
            wanted,
        )
        for size in possible
    )
    smallest = next((each.tp for each in options if each.fits), None)
    if tp is not None:
        chosen, why = next(each for each in options if each.tp == tp), "as asked"
    else:
        chosen, why = _choose(options)
    return Plan(options, chosen, smallest, why)


def _choose(options: tuple[Worker, ...]) -> tuple[Worker, str]:
    """Of those that meet all objectives the smallest that does nearly as much as any: what is left is room for error.

    Where none does, the one that misses fewest.
    """
    usable = [each for each in options if each.fits and each.workers]
    if not usable:
        fitting = [each for each in options if each.fits]
        return (fitting or list(options[-1:]))[0], "nothing fits the GPUs that there are"
    meeting = [each for each in usable if not each.misses()]
    if not meeting:
        best = min(usable, key=lambda each: (len(each.misses()), _overshoot(each)))
        return best, f"nearest to the objectives; misses {', '.join(best.misses())}"
    rates = [capacity(each, each.workers, by_prefix=True) for each in meeting]
    chosen = next(
        each for each, rate in zip(meeting, rates, strict=True) if rate >= NEARLY * max(rates)
    )
    reasons = [f"TP {each.tp} {_lacks(each)}" for each in options[: options.index(chosen)]]
    return chosen, "; ".join(["meets the objectives", *reasons])


def _lacks(worker: Worker) -> str:
    if not worker.fits:
        return "does not fit"
    missed = worker.misses()
    return f"misses {', '.join(missed)}" if missed else "keeps up with fewer requests/s"


def _overshoot(worker: Worker) -> float:
    """By how much the times exceed their objectives, as a product; by how much requests exceed their room."""
    wanted = worker.wanted
    return (
        max(1.0, worker.warm_s / wanted.ttft_s)
        * max(1.0, worker.tpot_s / wanted.tpot_s)
        * max(1.0, wanted.concurrency / max(1, worker.room))
    )
