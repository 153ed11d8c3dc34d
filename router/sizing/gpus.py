"""GPUs, what connects them, and who rents them out (pure).

Memory is what torch reports and vLLM multiplies by its utilization, from public out-of-memory messages: 0.2 GiB more or
less between drivers. Bandwidths and arithmetic are the vendors' data sheets', dense (without sparsity), one direction.
"""

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Link:
    """Between the GPUs of a node: bytes/s that one sends another, and seconds per hop of a collective operation.

    Data sheets count both directions; a share of about three quarters of one is reached.
    """

    name: str
    bytes_per_s: float
    hop_s: float


LINKS = {
    each.name: each
    for each in (
        Link("pcie4", 32e9, 8e-6),
        Link("pcie5", 64e9, 8e-6),
        Link("nvlink3", 300e9, 0.7e-6),
        Link("nvlink4", 450e9, 0.7e-6),
        Link("nvlink5", 900e9, 0.7e-6),
        Link("xgmi", 448e9, 1.0e-6),
    )
}
"""By name. A bridge between two cards (H100 NVL) is nvlink3's speed."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU."""

    name: str
    memory_gib: float
    bandwidth: float
    """Bytes/s of its memory."""
    bf16: float
    """FLOP/s."""
    fp8: float
    """FLOP/s; 0 where it has no such arithmetic."""
    int8: float
    link: str
    host: str
    """Its way to the CPU's memory."""
    fp4: float = 0
    """FLOP/s; 0 where it has no such arithmetic."""
    linked: int = 8
    """So many GPUs of a machine its link joins; more talk over PCIe."""

    @property
    def step_tokens(self) -> int:
        """vLLM's default for `--max-num-batched-tokens` of a server."""
        if self.memory_gib >= 160:
            return 16_384
        return 8192 if self._large else 2048

    @property
    def _large(self) -> bool:
        return self.memory_gib >= 70 and not self.name.startswith("a100")

    @property
    def max_requests(self) -> int:
        """vLLM's default for `--max-num-seqs`."""
        return 1024 if self._large else 256

    def flop_per_s(self, arithmetic: str) -> float:
        """At its data sheet's rate; what it cannot do it does in bf16."""
        known = {"fp8": self.fp8, "int8": self.int8, "fp4": self.fp4}
        return known.get(arithmetic) or self.bf16


GPUS = {
    each.name: each
    for each in (
        Gpu("l4", 22.0, 300e9, 121e12, 242e12, 242e12, "pcie4", "pcie4"),
        Gpu("a10g", 22.1, 600e9, 70e12, 0, 140e12, "pcie4", "pcie4"),
        Gpu("l40s", 44.4, 864e9, 362e12, 733e12, 733e12, "pcie4", "pcie4"),
        Gpu("rtx-pro-6000", 95.0, 1597e9, 504e12, 1007e12, 1007e12, "pcie5", "pcie5", 2015e12),
        Gpu("a100-40", 39.4, 1555e9, 312e12, 0, 624e12, "nvlink3", "pcie4"),
        Gpu("a100-80", 79.2, 2039e9, 312e12, 0, 624e12, "nvlink3", "pcie4"),
        Gpu("h100", 79.2, 3350e9, 989e12, 1979e12, 1979e12, "nvlink4", "pcie5"),
        Gpu("h100-nvl", 93.1, 3938e9, 835e12, 1671e12, 1671e12, "nvlink3", "pcie5", linked=2),
        Gpu("h200", 139.8, 4800e9, 989e12, 1979e12, 1979e12, "nvlink4", "pcie5"),
        Gpu("b200", 178.4, 8000e9, 2250e12, 4500e12, 4500e12, "nvlink5", "pcie5", 9000e12),
        Gpu("mi300x", 191.7, 5300e9, 1307e12, 2615e12, 2615e12, "xgmi", "pcie5"),
    )
}
"""By name."""


@dataclass(frozen=True, slots=True)
class Instance:
    """What AWS rents: GPUs, GiB of CPU memory, Gbit/s of network."""

    name: str
    gpu: str
    gpus: int
    cpu_gib: int
    network_gbit: int


INSTANCES = {
    each.name: each
    for each in (
        Instance("g5.2xlarge", "a10g", 1, 32, 10),
        Instance("g5.12xlarge", "a10g", 4, 192, 40),
        Instance("g5.48xlarge", "a10g", 8, 768, 100),
        Instance("g6.2xlarge", "l4", 1, 32, 10),
        Instance("g6.12xlarge", "l4", 4, 192, 40),
        Instance("g6.48xlarge", "l4", 8, 768, 100),
        Instance("g6e.2xlarge", "l40s", 1, 64, 20),
        Instance("g6e.12xlarge", "l40s", 4, 384, 100),
        Instance("g6e.24xlarge", "l40s", 4, 768, 200),
        Instance("g6e.48xlarge", "l40s", 8, 1536, 400),
        Instance("g7e.2xlarge", "rtx-pro-6000", 1, 64, 50),
        Instance("g7e.24xlarge", "rtx-pro-6000", 4, 1024, 800),
        Instance("g7e.48xlarge", "rtx-pro-6000", 8, 2048, 1600),
        Instance("p4d.24xlarge", "a100-40", 8, 1152, 400),
        Instance("p4de.24xlarge", "a100-80", 8, 1152, 400),
        Instance("p5.4xlarge", "h100", 1, 256, 100),
        Instance("p5.48xlarge", "h100", 8, 2048, 3200),
        Instance("p5en.48xlarge", "h200", 8, 2048, 3200),
        Instance("p6-b200.48xlarge", "b200", 8, 2048, 3200),
    )
}
"""By name."""


def network_gbit(gpu: str, instance: Instance | None) -> float:
    """Gbit/s per GPU: the instance's, else the best of those with this GPU, else 100."""
    offers = [instance] if instance else [each for each in INSTANCES.values() if each.gpu == gpu]
    return max((each.network_gbit / each.gpus for each in offers), default=100.0)
