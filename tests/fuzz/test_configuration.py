"""Whatever a file of settings holds: settings, or a mistake that is told as one."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.access.tenants_file import read
from router.config_file import ConfigurationError
from router.setting_sources import load
from router.settings import Settings
from tests.fuzz.limits import FUZZ
from tests.fuzz.mutations import mutated

SEEDS = [
    b"workers: [http://a:8000, http://b:8000]\npolicy: cost\nport: 8080\n",
    b"workers:\n  - http://a:8000\n  - &x http://b:8000\nmetrics_host: *x\n",
    b"port: 8080\nhost: '::1'\nlog_format: json\nkeep_alive_s: 5.5\nevents: on\n",
    b"tokenizers:\n  m: /models/m\nchat_template_kwargs:\n  m: {a: 1, b: [x, null]}\n",
    b'# nothing\n---\nworker_api_key: "a\\u00e9"\n',
]
WORDS = [
    *(b"\n", b"\t", b": ", b"- ", b"[", b"]", b"{", b"}", b"&a ", b"*a", b"<<: ", b"---\n", b"...\n", b"? "),
    *(b"!!python/object:os.system ", b"!!str ", b"!!int ", b"!!bool ", b"!!timestamp ", b"!!set ", b"!!omap ", b"!x ", b"%YAML 9.9\n"),
    *(b"|\n", b">-\n", b"'", b'"', b"\\", b"\0", b"\xff", b"\xef\xbb\xbf", b"null", b".nan", b".inf", b"-1"),
    *(b"1_000", b"0o17", b"1:30", b"true", b"~", b"workers: ", b"policy: ", b"port: "),
]  # fmt: skip
NAMES = sorted(Settings.model_fields)
VALUES = st.sampled_from(
    [
        *("", "[]", "{}", "null", "-1", "0", "1", "1.5", ".nan", ".inf", "-.inf", "on", "x", "[x]"),
        *("{x: y}", "http://a:1", "99999999999999999999", "[[x]]", "{1: 2}", "&a [*a]", "'\\0'"),
        *('"\\0"', "/", "*", "1:30", "0x1F", "2001-01-01"),
    ]
)


def loaded(text: bytes, folder: Path) -> None:
    """Settings or a mistake with words to it."""
    file = folder / "router.yaml"
    file.write_bytes(text)
    _check(lambda: load(file, {}))


def _check(read: Callable[[], object]) -> None:
    problems = None
    try:
        read()
    except ConfigurationError as error:
        problems = error.problems
    assert problems is None or (problems and all(problems))


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings come from the file alone."""
    for name in list(os.environ):
        if name.startswith("PREFIX_ROUTER_"):
            monkeypatch.delenv(name)


@FUZZ
@given(text=mutated(SEEDS, WORDS))
def test_mutated_files(text: bytes, tmp_path: Path) -> None:
    loaded(text, tmp_path)


@FUZZ
@given(values=st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=1, max_size=4))
def test_any_values(values: dict[str, str], tmp_path: Path) -> None:
    lines = "".join(f"{name}: {value}\n" for name, value in values.items())
    loaded(lines.encode(), tmp_path)


@FUZZ
@given(text=st.text(max_size=60))
def test_any_text(text: str, tmp_path: Path) -> None:
    with contextlib.suppress(UnicodeEncodeError):
        loaded(text.encode(), tmp_path)


DIGEST = b"sha256:" + b"ab" * 32
TENANTS = [
    b"tenants:\n  a:\n    keys: ["
    + DIGEST
    + b"]\n    models: ['m*']\n    requests_per_minute: 5\n",
    b"tenants:\n  a: {keys: [" + DIGEST + b"], trusted: true, priority: -1}\n  b: {}\n",
]


@FUZZ
@given(
    text=mutated(
        TENANTS, [*WORDS, DIGEST, b"keys: ", b"  ", b"models: [x]\n", b"max_inflight: 0\n"]
    )
)
def test_mutated_tenants(text: bytes, tmp_path: Path) -> None:
    file = tmp_path / "tenants.yaml"
    file.write_bytes(text)
    _check(lambda: read(file))


CRASHES = [
    ("a day that is none", b"port: 2001-99-99\n"),
    ("a number without digits", b"port: 0x_\n"),
    ("a number of too many digits", b"port: " + b"9" * 5000 + b"\n"),
    ("no number", b"port: !!int x\n"),
    ("no truth value", b"port: !!bool x\n"),
    ("no time", b"port: !!timestamp x\n"),
    ("very deep", b"port: " + b"[" * 5000 + b"\n"),
]


@pytest.mark.parametrize("text", [text for _, text in CRASHES], ids=[name for name, _ in CRASHES])
def test_what_yaml_cannot_make_a_value_of(text: bytes, tmp_path: Path) -> None:
    loaded(text, tmp_path)
