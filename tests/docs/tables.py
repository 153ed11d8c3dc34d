"""Prints README's reference tables from the code: `python -m tests.docs.tables`."""

from collections.abc import Iterator
from typing import Any

import click
from click.testing import CliRunner
from pydantic_core import PydanticUndefined

from router.cli import cli
from router.prompt.endpoints import PATHS, Endpoint
from router.settings import Settings
from router.telemetry.metrics import Metrics

ADMIN = {
    "/v1/responses/{id}": "a stored response: GET, DELETE, and POST to `/cancel`; asked of the worker that stores it",
    "/health": "200 while the router runs",
    "/ping": "the same, as SageMaker asks it",
    "/ready": "200 when a worker is up and serves a model, or a fallback stands in, else 503",
    "/metrics": "Prometheus metrics of the router",
    "/workers": 'every worker with its state; POST `{"url": …}`: have one more',
    "/workers/{worker}": "DELETE: have the worker not any more; what it has runs to its end",
    "/workers/{worker}/drain": "POST: give the worker no more requests; what it has runs to its end",
    "/workers/{worker}/undrain": "POST: give the worker requests again",
    "/explain": "POST: where a request with this body would go now, and why",
    "/": "the console, to a browser; else what this is",
    "/console/{name}": "what the console consists of",
    "/console/workers/{worker}": "one worker, as `/workers` has it",
    "/console/stream": "what the console shows, as server-sent events",
    "/v1/models": "every model that a worker serves",
    "/v1/models/{model}": "one model",
}
"""What is served beside the fixed inference paths, in words."""

HEADS = {
    "Configuration": "| setting | default | description |\n| --- | --- | --- |",
    "Metrics": "| metric | type | labels | meaning |\n| --- | --- | --- | --- |",
    "Endpoints": "| path | what |\n| --- | --- |",
}


def setting_rows() -> Iterator[str]:
    """One row per setting: its name, default and description."""
    for name, field in Settings.model_fields.items():
        default = None if field.default_factory else field.default
        yield f"| `{name}` | {_default(default)} | {_cell(field.description or '')} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(value: Any) -> str:
    assert value is not PydanticUndefined, "a new user sets only the workers"
    if value is None or value in ([], (), {}):
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(f"`{item}`" for item in value)
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value}`"


def metric_rows() -> Iterator[str]:
    """One row per metric, named as in a scrape; labels in the order declared."""
    for family in Metrics().collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(f"`{label}`" for label in getattr(family, "_labelnames", ()))
        yield f"| `{name}` | {family.type} | {labels or 'none'} | {_cell(family.documentation)} |"


def endpoint_rows() -> Iterator[str]:
    """One row per path: the inference endpoints, then what the router answers itself."""
    for path, endpoint in PATHS.items():
        yield f"| `{path}` | {_what(endpoint)} |"
    for path, what in ADMIN.items():
        yield f"| `{path}` | {what} |"


def _what(endpoint: Endpoint) -> str:
    kind = "generates" if endpoint.generates else "passed on"
    return f"{kind}; `{endpoint.name}` in metrics and logs"


TABLES = {"Configuration": setting_rows, "Metrics": metric_rows, "Endpoints": endpoint_rows}


def help_texts() -> Iterator[tuple[str, str]]:
    """Each command with its `--help`, as on a terminal of 100 columns; first the whole program's."""
    program = "prefix-router"
    for command in ("", *sorted(cli.commands)):
        shown = CliRunner().invoke(
            cli, [*command.split(), "--help"], prog_name=program, terminal_width=100
        )
        yield f"{program} {command}".strip(), shown.output.rstrip("\n")


def main() -> None:
    """Print every section."""
    for heading, rows in TABLES.items():
        click.echo("\n".join([f"## {heading}\n", HEADS[heading], *rows(), ""]))
    click.echo("## Command line\n")
    for command, text in help_texts():
        click.echo(f"```\n$ {command} --help\n{text}\n```\n")


if __name__ == "__main__":
    main()
