"""`python -m router.simworker`: start one simulated worker."""

import socket
from typing import Any

import click

from router.simworker.config import WorkerConfig
from router.simworker.server import run

_COUNT = click.IntRange(min=1)
_DURATION = click.FloatRange(min=0)


@click.command(context_settings={"show_default": True})
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", default=8001, help="Port to listen on.")
@click.option(
    "--model",
    "models",
    multiple=True,
    default=("sim-model",),
    help="Name to serve; further ones are its adapters.",
)
@click.option(
    "--kv-tokens",
    type=_COUNT,
    default=65536,
    help="Tokens that the KV cache holds; also caps the context length.",
)
@click.option("--block-size", type=_COUNT, default=16, help="Tokens in a cache block.")
@click.option(
    "--prefill-tokens-per-s",
    type=click.FloatRange(0, min_open=True),
    default=4000.0,
    help="Prompt tokens computed per second.",
)
@click.option(
    "--itl-ms", type=_DURATION, default=10.0, help="Milliseconds of a step that only decodes."
)
@click.option("--max-num-seqs", type=_COUNT, default=64, help="Sequences in a batch.")
@click.option("--max-num-batched-tokens", type=_COUNT, default=8192, help="Tokens in a step.")
@click.option(
    "--max-num-queued-reqs",
    default=0,
    help="Waiting requests beyond which 503 is answered; 0 = any.",
)
@click.option(
    "--max-model-len",
    type=_COUNT,
    default=131072,
    help="Longest prompt and answer together, in tokens.",
)
@click.option(
    "--data-parallel-size",
    type=_COUNT,
    default=1,
    help="Ranks, each with an engine and a cache of its own.",
)
@click.option(
    "--kv-events-port",
    default=0,
    help="Publish cache events here and on the next ports, one for each rank (behind them are those for replay); "
    "0 = do not.",
)
@click.option("--api-key", default=None, help="Key that requests to /v1 must bear.")
@click.option(
    "--time-scale",
    type=_DURATION,
    default=1.0,
    help="Multiplies every simulated duration; 0.1 is ten times faster.",
)
@click.option(
    "--shutdown-timeout",
    type=_DURATION,
    default=0.0,
    help="Seconds that answers may go on after SIGTERM.",
)
@click.option(
    "--exit-with-parent",
    is_flag=True,
    help="End at the end of standard input: when the process at the other end of the pipe is gone.",
)
@click.option("--log-level", default="warning", help="uvicorn's log level.")
def main(
    *,
    itl_ms: float,
    models: tuple[str, ...],
    shutdown_timeout: float,
    exit_with_parent: bool,
    log_level: str,
    **options: Any,
) -> None:
    """Serve a simulated vLLM worker: real HTTP and a model of the engine, no GPU."""
    try:
        config = WorkerConfig(models=models, itl_s=itl_ms / 1000, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    _require_free(config.host, config.port)
    run(config, drain_s=shutdown_timeout, exit_with_parent=exit_with_parent, log_level=log_level)


class _TakenError(click.ClickException):
    exit_code = 2


def _require_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]
        raise _TakenError(f"{host}:{port}: {reason}; try another --port") from None


if __name__ == "__main__":
    main()
