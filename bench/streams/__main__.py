"""Many streams through one router: memory, CPU per chunk, and how much later chunks come than without it.

python -m bench.streams --streams 10000 --tokens 40 --interval-ms 1000
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

import uvloop

from bench.dataplane import harness
from bench.dataplane.meter import percentiles_ms
from bench.dataplane.report import table
from bench.streams.run import Outcome, Shapes, most_streams, run

QUIET_S = 10.0
MIN_WINDOW_S = 2.0
# One worker stands for a fleet here: nothing is to wait for room.
_ROOM = ["env", "PREFIX_ROUTER_MAX_INFLIGHT=1000000", "PREFIX_ROUTER_ROOM_TOKENS=1000000000"]
HEADER = ["", "streams open", "chunks", "p50 ms", "p99 ms", "max ms", "failures"]


def parser() -> argparse.ArgumentParser:
    """The flags."""
    out = argparse.ArgumentParser(
        "python -m bench.streams",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out.add_argument("--streams", type=int, default=10_000)
    out.add_argument("--tokens", type=int, default=40, help="of each stream")
    out.add_argument("--interval-ms", type=float, default=1000, help="between a stream's tokens")
    out.add_argument("--ramp", type=float, default=10, help="seconds to open all streams in")
    out.add_argument("--ours", default=f"{sys.executable} -m router", help="command of our router")
    out.add_argument("--ours-flags", default="", help="more flags for `serve`")
    out.add_argument(
        "--base-port", type=int, default=18300, help="the router's; the worker's is 11 above"
    )
    out.add_argument("--router-core", type=int, default=0)
    out.add_argument("--load-core", type=int, default=1)
    out.add_argument("--out", type=Path, default=harness.ROOT / "build/streams", help="logs")
    out.add_argument("--json", type=Path, help="a file for the result")
    return out


def shapes_of(args: argparse.Namespace) -> Shapes:
    """What to run; exits if no moment would have all streams open."""
    streams = most_streams(args.streams)
    if streams < args.streams:
        told = f"{streams:,} streams instead of {args.streams:,}: a process may open no more files"
        print(f"{told} (ulimit -Hn)", file=sys.stderr)
    shapes = Shapes(streams, args.tokens, args.interval_ms / 1e3, args.ramp)
    if shapes.window_s < MIN_WINDOW_S:
        sys.exit("too short: more --tokens, a longer --interval-ms or a shorter --ramp")
    return shapes


def measure(args: argparse.Namespace, shapes: Shapes) -> tuple[Outcome, Outcome]:
    """Straight to the worker, then through the router."""
    out: Path = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    worker_port = args.base_port + 11
    harness.require_free([args.base_port, worker_port])
    mock = [sys.executable, "-m", "bench.streams.mock", "--port", str(worker_port)]
    mock += ["--interval-ms", str(args.interval_ms)]
    router = [*_ROOM, *shlex.split(args.ours), "serve", "--host", "127.0.0.1"]
    router += ["--port", str(args.base_port), "--worker", f"http://127.0.0.1:{worker_port}"]
    router += shlex.split(args.ours_flags)
    with harness.started(mock, args.load_core, out / "mock.log") as worker:
        harness.await_ready(worker_port, worker)
        direct = uvloop.run(run(worker_port, shapes, 0, QUIET_S))
        with harness.started(router, args.router_core, out / "router.log") as process:
            harness.await_ready(args.base_port, process)
            through = uvloop.run(run(args.base_port, shapes, process.pid, QUIET_S))
    return direct, through


def row(name: str, outcome: Outcome) -> list[str]:
    """One line of the table."""
    ages = percentiles_ms(outcome.tally.ages_s) or {}
    shown = [f"{ages[q]:.2f}" if q in ages else "-" for q in ("p50", "p99", "max")]
    failures = ", ".join(f"{n} x {why}" for why, n in outcome.tally.failures.items()) or "0"
    return [name, f"{outcome.open}", f"{outcome.chunks}", *shown, failures]


def report(direct: Outcome, through: Outcome) -> str:
    """The tables."""
    rows = [row("direct", direct), row("router", through)]
    a, b = (percentiles_ms(each.tally.ages_s) or {} for each in (direct, through))
    if a and b:
        added = [f"{b[q] - a[q]:+.2f}" for q in ("p50", "p99", "max")]
        rows.append(["added", "", "", *added, ""])
    each_kb = (through.full_mb - through.idle_mb) * 1024 / max(1, through.open)
    memory = (
        f"RSS of the router: {through.idle_mb:.0f} MB idle, {through.full_mb:.0f} MB with {through.open:,} streams "
        f"({each_kb:.1f} KB each), {through.after_mb:.0f} MB {QUIET_S:.0f} s after. "
        f"CPU: {through.cpu_us:.1f} µs per chunk."
    )
    return f"Age of chunks when they come:\n\n{table(HEADER, rows)}\n\n{memory}"


def as_json(outcome: Outcome) -> dict[str, object]:
    """The figures of a run."""
    return {
        "open": outcome.open,
        "chunks": outcome.chunks,
        "age_ms": percentiles_ms(outcome.tally.ages_s),
        "failures": outcome.tally.failures,
        "rss_mb": {"idle": outcome.idle_mb, "full": outcome.full_mb, "after": outcome.after_mb},
        "cpu_us_per_chunk": round(outcome.cpu_us, 2),
    }


def main() -> None:
    """Run, print the tables; exit 1 when a stream failed."""
    args = parser().parse_args()
    harness.prepare()
    try:
        direct, through = measure(args, shapes_of(args))
    except harness.NotReadyError as error:
        sys.exit(f"bench.streams: {error}; see {args.out}")
    print(report(direct, through))
    if args.json:
        told = {"direct": as_json(direct), "router": as_json(through)}
        args.json.write_text(json.dumps(told, indent=1))
    sys.exit(1 if direct.tally.failures or through.tally.failures else 0)


if __name__ == "__main__":
    main()
