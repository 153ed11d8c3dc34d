"""The file of tenants, and how mistakes in it are explained."""

from collections.abc import Callable
from pathlib import Path

import pytest

from router.access.keys import digest_of, written
from router.access.tenants_file import name_of, read, roster
from router.access.terms import Terms
from router.config_file import ConfigurationError

Write = Callable[[str], Path]
ONE, TWO = digest_of(b"one"), digest_of(b"two")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        file = tmp_path / "tenants.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def problems(file: Path) -> list[str]:
    """What is wrong with a file, without its folder."""
    with pytest.raises(ConfigurationError) as caught:
        read(file)
    return [problem.removeprefix(f"{file.parent}/") for problem in caught.value.problems]


def test_all_there_is(write: Write) -> None:
    file = write(f"""
tenants:
  acme:
    keys: ["{written(ONE)}", "{written(TWO)}"]
    models: ["llama-*", qwen]
    requests_per_minute: 600
    tokens_per_minute: 200000
    max_inflight: 50
    priority: -1
    trusted: true
  beta: {{}}
""")
    assert read(file) == {
        "acme": Terms(
            frozenset([ONE, TWO]), ("llama-*", "qwen"), 600, 200_000, 50, priority=-1, trusted=True
        ),
        "beta": Terms(),
    }


def test_nobody(write: Write) -> None:
    assert read(write("tenants: {}\n")) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "tenants.yaml: tenants: Field required"),
        ("tenants:\n", "tenants.yaml:1: tenants: Input should be a valid dictionary"),
        ("tenant: {}\ntenants: {}", "tenants.yaml:1: tenant: no such setting; did you mean `tenants`?"),
        ("tenants:\n  a:\n    key: []\n", "tenants.yaml:3: tenants.a.key: no such setting; did you mean `keys`?"),
        ("tenants:\n  a:\n    max_inflight: 0\n", "tenants.yaml:3: tenants.a.max_inflight: Input should be greater than 0"),
        ("tenants:\n  a:\n    max_inflight: yes\n", "tenants.yaml:3: tenants.a.max_inflight: Input should be a valid integer"),
        ("tenants:\n  a:\n    trusted: 1\n", "tenants.yaml:3: tenants.a.trusted: Input should be a valid boolean"),
        ("tenants:\n  a:\n    models:\n      - m\n      - ''\n", "tenants.yaml:5: tenants.a.models.1: an empty pattern allows nothing"),
        ("tenants:\n  a:\n    models: m\n", "tenants.yaml:3: tenants.a.models: Input should be a valid list"),
        ("tenants:\n  a b: {}\n", "tenants.yaml:2: tenants.a b: a tenant's name has 1 to 64 letters, digits, `.`, `_` and `-`"),
        ("tenants:\n  a: {}\n  b: {}\n  a: {}\n", "tenants.yaml:4: tenants.a: given a second time"),
        ("tenants:\n  a:\n    models: []\n    models: [m]\n", "tenants.yaml:4: tenants.a.models: given a second time"),
        ("tenants: [\n", "tenants.yaml:2: not valid YAML"),
    ],
)  # fmt: skip
def test_mistakes(write: Write, text: str, expected: str) -> None:
    (found,) = problems(write(text))
    assert found.startswith(expected)


@pytest.mark.parametrize("bad", ["pr-secret", "sha256:secret", "[pr-secret]", "7", "'\n"])
def test_a_key_in_place_of_its_hash_is_not_repeated(write: Write, bad: str) -> None:
    file = write(f"tenants:\n  a:\n    keys:\n      - {written(ONE)}\n      - {bad}\n")
    text = "\n".join(problems(file))
    assert "tenants.yaml:" in text
    assert "secret" not in text
    if bad != "'\n":
        assert text.startswith("tenants.yaml:5: tenants.a.keys.1: must be `sha256:`")


def test_a_line_that_is_no_yaml_is_not_shown(write: Write) -> None:
    (found,) = problems(write("tenants:\n  a:\n    keys: ['pr-secret\n  b: {}\n"))
    assert "not valid YAML" in found
    assert "secret" not in found


def test_one_key_has_one_owner(write: Write) -> None:
    text = f'tenants:\n  a: {{keys: ["{written(ONE)}"]}}\n  b:\n    keys: ["{written(ONE)}"]\n'
    assert problems(write(text)) == ["tenants.yaml:4: a key of b is also one of a"]


class TestRoster:
    def test_keys_alone(self) -> None:
        assert roster(None, {"a": (ONE, TWO)}) == {"a": Terms(frozenset([ONE, TWO]))}
        assert roster(None, None) == {}

    def test_further_keys_of_tenants_in_the_file(self, write: Write) -> None:
        file = write(f'tenants:\n  a: {{keys: ["{written(ONE)}"], max_inflight: 5}}\n')
        assert roster(file, {"a": (TWO,), "b": (digest_of(b"three"),)}) == {
            "a": Terms(frozenset([ONE, TWO]), max_inflight=5),
            "b": Terms(frozenset([digest_of(b"three")])),
        }

    def test_one_key_has_one_owner(self) -> None:
        with pytest.raises(ConfigurationError, match="api_keys: b: a key of b is also one of a"):
            roster(None, {"a": (ONE,), "b": (ONE,)})


@pytest.mark.parametrize("name", ["a", "Acme-2", "a.b_c", "x" * 64])
def test_names(name: str) -> None:
    assert name_of(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a b", 'a"', "a\n", "ä", "x" * 65, "a/b", "a=b"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="letters"):
        name_of(name)
