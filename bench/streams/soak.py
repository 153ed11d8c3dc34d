"""A million short requests: does the router's memory grow?

    python -m bench.streams.soak --requests 1000000

The load, the mock workers and the sampling are those of `bench.dataplane.soak`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench.dataplane import harness, soak
from bench.dataplane.report import table
from bench.dataplane.routers import Setting

HEADER = ["requests", "req/s", "RSS MB before", "1/4", "1/2", "3/4", "after", "B/request, 2nd half"]
_MOST_B = 4.0  # per request: what allocators may add in steps


def parser() -> argparse.ArgumentParser:
    """The flags."""
    out = argparse.ArgumentParser(
        "python -m bench.streams.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out.add_argument("--requests", type=int, default=1_000_000)
    out.add_argument("--prompt-bytes", type=int, default=512)
    out.add_argument("--connections", type=int, default=64)
    out.add_argument("--ours", default=f"{sys.executable} -m router", help="command of our router")
    out.add_argument("--ours-flags", default="", help="more flags for `serve`")
    out.add_argument("--base-port", type=int, default=18300)
    out.add_argument("--router-core", type=int, default=0)
    out.add_argument("--load-core", type=int, default=1)
    out.add_argument("--out", type=Path, default=harness.ROOT / "build/streams", help="logs")
    return out


def grown_b(outcome: soak.Outcome) -> float:
    """Bytes per request by which the memory grew in the second half, by least squares."""
    return outcome.slope_mb_per_1k * 1024 * 1024 / 1000


def row(outcome: soak.Outcome) -> list[str]:
    """The line of the table."""
    samples = outcome.samples_mb
    at = [samples[min(len(samples) - 1, len(samples) * part // 4)] for part in range(5)]
    requests = outcome.phase.requests
    rates = [f"{requests}", f"{requests / outcome.seconds:.0f}"]
    return [*rates, *(f"{each:.1f}" for each in at), f"{grown_b(outcome):+.2f}"]


def main() -> None:
    """Run, print the table; exit 1 when the second half grew or a request failed."""
    args = parser().parse_args()
    args.phases = [soak.Phase(args.prompt_bytes, args.requests)]
    args.repeat, args.router = 1, "ours"
    harness.prepare()
    out: Path = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    workers = harness.worker_ports(args.base_port)
    harness.require_free([args.base_port, *workers])
    backend = harness.started(harness.backend_command(workers), args.load_core, out / "backend.log")
    with tempfile.TemporaryDirectory() as scratch, backend as mock:
        setting = Setting(
            args.base_port, workers, Path(scratch), args.ours, args.ours_flags, Path(scratch)
        )
        harness.await_ready(workers[0], mock)
        [outcome] = soak.soak(args, setting, out / "soak.log")
    print(f"{table(HEADER, [row(outcome)])}\n\nerrors: {outcome.errors}")
    sys.exit(1 if outcome.errors or grown_b(outcome) > _MOST_B else 0)


if __name__ == "__main__":
    main()
