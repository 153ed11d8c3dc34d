"""`prefix-router keys`."""

import re

import pytest
import yaml
from click.testing import CliRunner

from router.access.keys import digest_of, read, written
from router.access_cli import keys


def test_a_new_key_and_its_line() -> None:
    result = CliRunner().invoke(keys, ["new", "acme"])
    assert result.exit_code == 0
    key, line = result.stdout.splitlines()
    assert re.fullmatch(r"pr-[\w-]{43}", key)
    (digest,) = yaml.safe_load(line)["acme"]["keys"]
    assert read(digest) == digest_of(key.encode())
    assert "cannot be shown again" in result.stderr
    assert key not in result.stderr


def test_each_is_new() -> None:
    made = {CliRunner().invoke(keys, ["new", "acme"]).stdout for _ in range(5)}
    assert len(made) == 5


def test_the_tenant_must_be_one_that_the_file_may_have() -> None:
    result = CliRunner().invoke(keys, ["new", "a b"])
    assert result.exit_code == 2
    assert "a tenant's name has" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("given", ["sk-1", "sk-1\n", " sk-1\r\n"])
def test_the_hash_of_a_key_from_standard_input(given: str) -> None:
    result = CliRunner().invoke(keys, ["hash"], input=given)
    assert (result.exit_code, result.stdout) == (0, written(digest_of(b"sk-1")) + "\n")


@pytest.mark.parametrize("given", ["", "\n", "two\nkeys", "a b", "schlüssel"])
def test_what_is_no_key_is_not_repeated(given: str) -> None:
    result = CliRunner().invoke(keys, ["hash"], input=given)
    assert result.exit_code == 1
    assert result.stderr == "Error: a key is one line of printable ASCII without spaces\n"
    assert result.stdout == ""


def test_a_key_is_no_argument() -> None:
    result = CliRunner().invoke(keys, ["hash", "sk-1"])
    assert result.exit_code == 2
