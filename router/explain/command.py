"""`prefix-router explain` as click sees it."""

import json
import sys
from dataclasses import dataclass
from typing import Any, BinaryIO

import click

from router.client import NoAnswerError, RouterClient, asking, asks_a_router
from router.explain.table import shown
from router.tables import terminal_width

_PROMPTS = {
    "/v1/chat/completions": "messages",
    "/v1/messages": "messages",
    "/v1/completions": "prompt",
    "/v1/responses": "input",
    "/v1/embeddings": "input",
}
"""Endpoints that a prompt makes a request for, and what it is called there."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was given, not yet looked at."""

    prompt: str | None
    url: str | None
    admin_key: str | None
    model: str | None
    endpoint: str | None
    body: BinaryIO | None
    headers: tuple[str, ...]


@click.command()
@click.argument("prompt", required=False)
@asks_a_router
@click.option("--model", metavar="NAME", help="[default: the only one that is served]")
@click.option("--endpoint", metavar="PATH", help="[default: /v1/chat/completions]")
@click.option(
    "--body",
    type=click.File("rb"),
    metavar="FILE",
    help="The whole body of the request, instead of a prompt.",
)
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="NAME:VALUE",
    help="Goes with the request, such as a session; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def explain(*, as_json: bool, **given: Any) -> None:
    """Say where a running router would send a request now, and why. Nothing is sent to a worker.

    \b
    prefix-router explain --router http://router:8080 "Why is the sky blue?"

    PROMPT is the request's text; - reads it from standard input.
    """
    asked = Asked(**given)
    if (asked.prompt is None) == (asked.body is None):
        raise click.UsageError("Give a PROMPT or --body FILE.")
    with asking(asked.url, asked.admin_key, dict(map(_header, asked.headers))) as client:
        explanation = client.explain(_body(asked, client), asked.endpoint)
    if as_json:
        click.echo(json.dumps(explanation, indent=2))
    else:
        for line in shown(explanation, terminal_width()):
            click.echo(line)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not (name.strip() and colon and text.isascii() and text.isprintable()):
        raise click.UsageError(f"--header {text!r}: write NAME:VALUE, in ASCII.")
    return name.strip(), value.strip()


def _body(asked: Asked, client: RouterClient) -> bytes:
    """The request's body: the one given, or one around the prompt."""
    if asked.body is not None:
        return asked.body.read()
    member = _PROMPTS.get(asked.endpoint or "/v1/chat/completions")
    if member is None:
        raise click.UsageError(f"{asked.endpoint} takes more than a prompt: give --body FILE.")
    text = _standard_input() if asked.prompt == "-" else asked.prompt
    content: Any = [{"role": "user", "content": text}] if member == "messages" else text
    body = {"model": asked.model or _only_model(client), member: content}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def _standard_input() -> str:
    return sys.stdin.buffer.read().decode(errors="replace")


def _only_model(client: RouterClient) -> str:
    models = client.models()
    if not models:
        raise NoAnswerError("No worker serves a model yet; GET /workers says why.")
    if len(models) > 1:
        raise click.UsageError(f"Choose one of the models with --model: {', '.join(models)}.")
    return models[0]
