"""The command line."""

import asyncio
import errno
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from router import app, finding, process
from router.access.tenants_file import roster
from router.access_cli import keys
from router.config_file import ConfigurationError
from router.demo.runner import DemoOptions, demo
from router.explain.command import explain
from router.ports import require_free
from router.reload import Origin
from router.routing.registry import POLICIES
from router.setting_sources import load
from router.settings import Settings
from router.settings.doubts import doubts
from router.simulate.command import simulate
from router.sizing.command import size
from router.telemetry.logs import configure_logging
from router.workers_cli import workers

_CONFIG = click.Path(exists=False, dir_okay=False, path_type=Path)


_VERSION = process.installed_version()


@click.group(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "obj": _VERSION,
    }
)
@click.version_option(_VERSION, prog_name="prefix-router")
def cli() -> None:
    """Prefix-aware, OpenAI-compatible request router for fleets of vLLM workers.

    Point a client's base_url at it; each request goes to the worker that already holds its prompt's prefix.
    """


@cli.command()
@click.option(
    "--worker",
    "workers",
    multiple=True,
    metavar="URL",
    help="A worker's base URL; repeat for each.",
)
@click.option(
    "--workers-file",
    type=_CONFIG,
    metavar="FILE",
    help="YAML list of workers, read anew when it changes.",
)
@click.option(
    "--workers-dns",
    multiple=True,
    metavar="URL",
    help="A name whose addresses are workers, like http://vllm.default.svc:8000; repeat for each.",
)
@click.option(
    "--kubernetes-service",
    metavar="NAME",
    help="Kubernetes Service whose endpoints are workers: name, or namespace/name.",
)
@click.option(
    "--kubernetes-selector", metavar="LABELS", help="Label selector of pods that are workers."
)
@click.option("--config", type=_CONFIG, metavar="FILE", help="YAML file with settings.")
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 0.0.0.0]")
@click.option("--port", type=int, help="Port to listen on.  [default: 8080]")
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    metavar="NAME",
    help="How a worker is chosen; README has the names.  [default: prefix]",
)
@click.option(
    "--allow-path",
    "allow_paths",
    multiple=True,
    metavar="PATTERN",
    help="A further path to pass on.",
)
@click.option(
    "--redis-url", metavar="URL", help="Redis that several routers share what they know in."
)
@click.option(
    "--sidecar",
    is_flag=True,
    default=None,
    help="Follow what other routers say of workers, instead of probing every worker.",
)
@click.option(
    "--resume",
    type=click.Choice(["off", "on"]),
    help="Whether a stream whose worker dies goes on from another one.  [default: off]",
)
@click.option("--log-format", type=click.Choice(["auto", "json", "text"]), help="[default: auto]")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[default: info]"
)
def serve(config: Path | None, **flags: Any) -> None:
    """Route requests to workers.

    \b
    prefix-router serve --worker http://gpu-1:8000 --worker http://gpu-2:8000

    Every setting can also stand in the file, or in the environment as PREFIX_ROUTER_<NAME>; flags win over
    the environment, the environment over the file.
    """
    given = _given(flags)
    settings = _load(config, given)
    _require_free(settings.host, settings.port)
    if settings.admin_port is not None:
        _require_free(settings.admin_host, settings.admin_port, "admin_port")
    configure_logging(json=app.json_logs(settings), level=settings.log_level)
    app.serve(settings, origin=Origin(config, partial(load, config, given)))


@cli.command("demo")
@click.option(
    "--workers",
    "simulated",
    type=click.IntRange(1, 16),
    default=3,
    show_default=True,
    help="How many simulated workers to start.",
)
@click.option(
    "--worker",
    "urls",
    multiple=True,
    metavar="URL",
    help="Use this running worker instead; repeatable.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8080, show_default=True, help="Port to listen on; 0 picks a free one."
)
@click.option("--once", is_flag=True, help="End after the table instead of serving on.")
def run_demo(simulated: int, urls: tuple[str, ...], host: str, port: int, *, once: bool) -> None:
    """Start simulated workers and a router, and compare prefix routing with round robin.

    Then it serves on, so that you can send requests of your own.
    """
    configure_logging(json=False, level="warning")
    _require_free(host, port)
    try:
        process.run_loop(demo(DemoOptions(urls, simulated, host, port, once=once)))
    except (KeyboardInterrupt, asyncio.CancelledError):  # Ctrl-C or SIGTERM: all is stopped by now
        click.echo()


@cli.command()
@click.option("--config", type=_CONFIG, metavar="FILE", help="YAML file with settings.")
def check(config: Path | None) -> None:
    """Validate the configuration (file and environment) and say where it is wrong."""
    settings = _load(config, {})
    for doubt in doubts(settings):
        click.echo(f"warning: {doubt}", err=True)
    click.echo(
        f"ok: {len(settings.workers)} workers, policy {settings.policy}, port {settings.port}"
    )


cli.add_command(explain)
cli.add_command(keys)
cli.add_command(simulate)
cli.add_command(size)
cli.add_command(workers)


class _TakenError(click.ClickException):
    exit_code = 2


def _require_free(host: str, port: int, setting: str = "--port") -> None:
    """Better said now than after the workers were asked, or after the first half of the demo."""
    try:
        require_free(host, port)
    except OSError as error:
        other = setting if error.errno == errno.EADDRINUSE else setting.replace("port", "host")
        raise _TakenError(f"{host}:{port}: {error.strerror}; try another {other}") from None


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were set."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in flags.items()
        if value not in (None, ())
    }


def _load(config: Path | None, flags: dict[str, Any]) -> Settings:
    try:
        settings = load(config, flags)
        roster(settings.tenants_file, settings.api_keys)
        finding.check(settings)
    except ConfigurationError as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        sys.exit(2)
    return settings
