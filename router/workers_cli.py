"""`prefix-router workers` as click sees it."""

import json
import time
from contextlib import AbstractContextManager
from typing import Any

import click

from router.client import RouterClient, asking, asks_a_router
from router.fleet.worker import worker_id
from router.tables import Table, fitted, lines, terminal_width
from router.upstream.pool import Address

_PROBED_WITHIN_S = 3.0
_POLL_S = 0.2


@click.group(invoke_without_command=True)
@asks_a_router
@click.pass_context
def workers(context: click.Context, url: str | None, admin_key: str | None) -> None:
    """List and change the workers of a running router.

    \b
    prefix-router workers --router http://router:8080
    prefix-router workers add http://gpu-9:8000
    prefix-router workers drain gpu-1:8000

    Nothing that runs is ended. Routers that share a Redis, or know each other by kubernetes_routers, all heed what one of
    them is told.
    """
    context.obj = url, admin_key
    if context.invoked_subcommand is None:
        context.invoke(listing)


@workers.command("list")
@asks_a_router
@click.option("--json", "as_json", is_flag=True, help="Print all that is known, as JSON.")
@click.pass_context
def listing(
    context: click.Context,
    url: str | None = None,
    admin_key: str | None = None,
    *,
    as_json: bool = False,
) -> None:
    """Show every worker with its state; so does `workers` alone."""
    with _asking(context, url, admin_key) as router:
        rows = router.workers()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        width = terminal_width()
        for block in lines(fitted(_table(rows), width), width):
            for line in block:
                click.echo(line)
        for row in rows:
            if row["error"] is not None:
                click.echo(f"{row['id']} is {_condition(row)}")
    else:
        click.echo("There are no workers.")


@workers.command()
@asks_a_router
@click.argument("worker_url", metavar="URL")
@click.pass_context
def add(context: click.Context, url: str | None, admin_key: str | None, worker_url: str) -> None:
    """Have the worker at URL in the fleet, until it is removed or the router ends."""
    with _asking(context, url, admin_key) as router:
        told = router.add_worker(worker_url)
        worker = _once_probed(router, told)
    click.echo(f"{worker['id']} is in the fleet: {_condition(worker)}")
    _complain(context, told)


@workers.command()
@asks_a_router
@click.argument("worker", metavar="WORKER")
@click.pass_context
def drain(context: click.Context, url: str | None, admin_key: str | None, worker: str) -> None:
    """Give WORKER, its id or URL, no more requests; what it has runs to its end."""
    state = _change(context, url, admin_key, worker, "drain")
    click.echo(f"{_server(state)} is drained: {_under_way(state)}")
    _complain(context, state)


@workers.command()
@asks_a_router
@click.argument("worker", metavar="WORKER")
@click.pass_context
def undrain(context: click.Context, url: str | None, admin_key: str | None, worker: str) -> None:
    """Give WORKER, its id or URL, requests again."""
    state = _change(context, url, admin_key, worker, "undrain")
    if others := state.get("drained_by"):
        click.echo(f"{_server(state)} stays drained, for so says: {', '.join(others)}")
    else:
        click.echo(f"{_server(state)} is given requests again: {_condition(state)}")
    _complain(context, state)


@workers.command()
@asks_a_router
@click.argument("worker", metavar="WORKER")
@click.pass_context
def remove(context: click.Context, url: str | None, admin_key: str | None, worker: str) -> None:
    """Take WORKER, its id or URL, out of the fleet, whoever knows of it; what it has runs to its end."""
    state = _change(context, url, admin_key, worker, "remove")
    click.echo(f"{_server(state)} is removed: {_under_way(state)}")
    _complain(context, state)


def _change(
    context: click.Context, url: str | None, admin_key: str | None, worker: str, change: str
) -> dict[str, Any]:
    """The worker's state after it."""
    with _asking(context, url, admin_key) as router:
        return router.change_worker(_id(worker), change)


def _complain(context: click.Context, state: dict[str, Any]) -> None:
    """Others that go on as before make the command fail."""
    untold = state.get("untold_replicas", ())
    for each in untold:
        what = f"{each} could not be told" if "://" in each else f"others were not told: {each}"
        click.echo(f"warning: {what}; the router's log says why", err=True)
    if untold:
        context.exit(1)


def _server(state: dict[str, Any]) -> str:
    """A server is changed with all its ranks."""
    ranks = len(state.get("ranks", ()))
    return f"{state['id']} ({ranks} ranks)" if ranks > 1 else str(state["id"])


def _asking(
    context: click.Context, url: str | None, admin_key: str | None
) -> AbstractContextManager[RouterClient]:
    """The router that the options name, those of the subcommand before the others."""
    group_url, group_key = context.obj
    return asking(url or group_url, admin_key or group_key)


def _id(worker: str) -> str:
    """The id of a worker that is named by that or by its URL."""
    if "://" not in worker:
        return worker
    url, sharp, rank = worker.partition("#")
    try:
        address = Address.parse(url)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return f"{worker_id(address)}{sharp}{rank}"


def _once_probed(router: RouterClient, worker: dict[str, Any]) -> dict[str, Any]:
    """Its state once the router has asked it for the first time; as it is then if that takes long."""
    end = time.monotonic() + _PROBED_WITHIN_S
    while not worker["up"] and worker["error"] is None and time.monotonic() < end:
        time.sleep(_POLL_S)
        worker = next((row for row in router.workers() if row["id"] == worker["id"]), worker)
    return worker


def _under_way(state: dict[str, Any]) -> str:
    count = state["inflight"]
    return "1 request is under way" if count == 1 else f"{count} requests are under way"


def _state(row: dict[str, Any]) -> str:
    """A worker that is down without a reason was not asked yet."""
    unasked = row["state"] == "down" and row["error"] is None
    return "not asked yet" if unasked else str(row["state"])


def _condition(row: dict[str, Any]) -> str:
    """Its state, and why."""
    if row["error"] is None:
        return _state(row)
    why = row["error"].removeprefix(f"Worker {row['id']} ").removesuffix(".")
    return f"{row['state']} ({why})"


_HEAD = ("worker", "state", "models", "in flight", "waiting", "KV use", "blocks", "found by")


def _table(rows: list[dict[str, Any]]) -> Table:
    left = frozenset({"state", "models", "found by"})
    return Table(_HEAD, [_cells(row) for row in rows], left, frozenset({"-", "configuration"}))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    usage, waiting = row["kv_cache_usage"], row["requests_waiting"]
    return (
        f"{row['id']} ({row['name']})" if row["name"] else row["id"],
        _state(row),
        ", ".join(row["models"]) or "-",
        str(row["inflight"]),
        "-" if waiting is None else str(waiting),
        "-" if usage is None else f"{usage:.0%}",
        f"{sum(row['index_blocks'].values()):,}",
        row["source"],
    )
