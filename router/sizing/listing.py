"""What there is to choose from (pure)."""

from router.sizing.formats import FORMATS
from router.sizing.gpus import GPUS, INSTANCES, LINKS
from router.sizing.table import listing_lines


def listing() -> str:
    """GPUs, instances, links and formats."""
    gpus: list[tuple[str, ...]] = [
        ("name", "GiB", "GB/s", "bf16 TFLOPS", "fp8 TFLOPS", "fp4 TFLOPS", "link", "host")
    ]
    gpus += [
        (
            g.name,
            f"{g.memory_gib:g}",
            f"{g.bandwidth / 1e9:,.0f}",
            *map(_tflops, (g.bf16, g.fp8, g.fp4)),
            g.link,
            g.host,
        )
        for g in GPUS.values()
    ]
    instances: list[tuple[str, ...]] = [("name", "GPU", "GPUs", "CPU GiB", "Gbit/s")]
    instances += [
        (i.name, i.gpu, str(i.gpus), f"{i.cpu_gib:,}", f"{i.network_gbit:,}")
        for i in INSTANCES.values()
    ]
    links: list[tuple[str, ...]] = [("name", "GB/s each way", "us per hop")]
    links += [(k.name, f"{k.bytes_per_s / 1e9:g}", f"{k.hop_s * 1e6:g}") for k in LINKS.values()]
    formats: list[tuple[str, ...]] = [("name", "bytes per parameter")]
    formats += [(f.name, f"{f.bytes:.4g}") for f in FORMATS.values()]
    parts = {
        "GPUs": gpus,
        "AWS instances, as --gpu too": instances,
        "Interconnects": links,
        "Weights": formats,
    }
    return "\n\n".join("\n".join([f"{t}:", *listing_lines(rows)]) for t, rows in parts.items())


def _tflops(rate: float) -> str:
    return f"{rate / 1e12:,.0f}" if rate else "-"
