"""`prefix-router keys`: makes API keys for clients, and hashes them for the file of tenants."""

import sys

import click

from router.access.keys import digest_of, new_key, written
from router.access.tenants_file import name_of


@click.group()
def keys() -> None:
    """Make and hash API keys of clients.

    The file of tenants has only their hashes; a key itself is never an argument, where others could see it.
    """


@keys.command()
@click.argument("tenant")
def new(tenant: str) -> None:
    """Make a key for TENANT: shown once, with what belongs into the file of tenants."""
    try:
        name = name_of(tenant)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="TENANT") from None
    key = new_key()
    click.echo("The key, for the client. It is not kept and cannot be shown again:\n", err=True)
    click.echo(key)
    click.echo("\nIts hash, for the tenants_file:\n", err=True)
    click.echo(f'  {name}: {{keys: ["{written(digest_of(key.encode("ascii")))}"]}}')


@keys.command("hash")
def hash_key() -> None:
    """Read a key from standard input (or ask for it) and print its hash."""
    stdin = sys.stdin
    asked: str = click.prompt("Key", hide_input=True) if stdin.isatty() else stdin.read()
    key = asked.strip()
    if not key or not (key.isascii() and key.isprintable()) or " " in key:
        raise click.ClickException("a key is one line of printable ASCII without spaces")
    click.echo(written(digest_of(key.encode("ascii"))))
