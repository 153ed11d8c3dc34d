"""The file of workers, and how mistakes in it are explained."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from router.config_file import ConfigurationError
from router.discovery.targets_file import read
from router.fleet.target import EventPorts, Role, Target

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        file = tmp_path / "workers.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def problems(file: Path) -> list[str]:
    """What is wrong with a file, without its folder."""
    with pytest.raises(ConfigurationError) as caught:
        read(file)
    return [problem.removeprefix(f"{file.parent}/") for problem in caught.value.problems]


def test_all_there_is(write: Write) -> None:
    file = write("""
- http://a:8000/base
- b:8001
- url: https://10.0.0.3
  name: rack 3
  models: [llama, qwen]
  role: prefill
  drained: true
  kv_events_port: 5557
  kv_events_replay_port: 5558
  server_name: c.example
- {url: "http://[::1]:8000", kv_events_port: 5557}
""")
    assert read(file) == (
        Target(url="http://a:8000/base"),
        Target(url="b:8001"),
        Target(
            url="https://10.0.0.3",
            name="rack 3",
            models=("llama", "qwen"),
            role=Role.PREFILL,
            drained=True,
            events=EventPorts(5557, 5558),
            server_name="c.example",
        ),
        Target(url="http://[::1]:8000", events=EventPorts(5557)),
    )


def test_json(write: Write) -> None:
    file = write(json.dumps(["http://a", {"url": "http://b", "drained": False}], indent=2))
    assert read(file) == (Target(url="http://a"), Target(url="http://b"))


def test_nobody(write: Write) -> None:
    assert read(write("[]\n")) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "workers.yaml:1: the file must hold a list"),
        ("workers: []\n", "workers.yaml:1: the file must hold a list"),
        ("- ftp://a\n", "workers.yaml:1: url: 'ftp://a': the scheme must be http or https"),
        ("- http://a\n- 8000\n", "workers.yaml:2: a worker is its URL, or a table with its `url`"),
        ("- http://a\n-\n", "workers.yaml:2: a worker is its URL, or a table with its `url`"),
        ("- [http://a]\n", "workers.yaml:1: a worker is its URL, or a table with its `url`"),
        ("- http://a b\n", "workers.yaml:1: url: a URL has only printable ASCII without spaces"),
        ('- "http://a\\nb"\n', "workers.yaml:1: url: a URL has only printable ASCII without spaces"),
        ("- http://a/ä\n", "workers.yaml:1: url: a URL has only printable ASCII without spaces"),
        ("- http://a:0\n", "workers.yaml:1: url: 'http://a:0': no worker listens on port 0"),
        ("- http://a:70000\n", "workers.yaml:1: url: Port out of range 0-65535"),
        ("- http://[::1\n", "workers.yaml:1: url: "),
        ("- ''\n", "workers.yaml:1: url: "),
        ("- name: a\n", "workers.yaml:1: url: Field required"),
        ("- {}\n", "workers.yaml:1: url: Field required"),
        ("- url: http://a\n  model: [m]\n", "workers.yaml:2: model: no such setting; did you mean `models`?"),
        ("- url: http://a\n  <<: {role: both}\n", "workers.yaml:2: <<: no such setting"),
        ("- url: http://a\n  models: m\n", "workers.yaml:2: models: Input should be a valid list"),
        ("- url: http://a\n  models:\n    - m\n    - ''\n", "workers.yaml:4: models.1: String should have at least 1 character"),
        ("- url: http://a\n  models:\n    - m\n    - 1\n", "workers.yaml:4: models.1: Input should be a valid string"),
        ("- url: http://a\n  role: decoder\n", "workers.yaml:2: role: Input should be 'both', 'prefill' or 'decode'"),
        ("- url: http://a\n  drained: 1\n", "workers.yaml:2: drained: Input should be a valid boolean"),
        ("- url: http://a\n  kv_events_port: '5557'\n", "workers.yaml:2: kv_events_port: Input should be a valid integer"),
        ("- url: http://a\n  kv_events_port: 65536\n", "workers.yaml:2: kv_events_port: Input should be less than or equal to 65535"),
        ("- url: http://a\n  kv_events_replay_port: 1\n", "workers.yaml:1: kv_events_replay_port needs a kv_events_port"),
        ('- url: http://a\n  name: "a\\nb"\n', "workers.yaml:2: name: must be printable"),
        ("- url: http://a\n  url: http://b\n", "workers.yaml:2: url: given a second time"),
        ("- [\n", "workers.yaml:2: not valid YAML"),
    ],
)  # fmt: skip
def test_mistakes(write: Write, text: str, expected: str) -> None:
    (found,) = problems(write(text))
    assert found.startswith(expected)


def test_every_mistake_is_told(write: Write) -> None:
    file = write("- ftp://a\n- http://b\n- url: http://c\n  role: x\n  drained: x\n")
    assert [problem.split(": ")[0] for problem in problems(file)] == [
        "workers.yaml:1",
        "workers.yaml:4",
        "workers.yaml:5",
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [("http://a", "http://a"), ("http://a:80/", "a"), ("https://a:80", "http://a"), ("http://A/x", "http://a:80/x")],
)  # fmt: skip
def test_a_worker_is_there_once(write: Write, one: str, other: str) -> None:
    file = write(f"- {one}\n- http://b\n- url: {other}\n")
    assert problems(file) == [f"workers.yaml:3: {other!r} is the same worker as {one!r} on line 1"]


def test_one_of_one_line(write: Write) -> None:
    assert problems(write("[a, b, a]")) == [
        "workers.yaml:1: 'a' is the same worker as 'a' on line 1"
    ]


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.binary(max_size=4),
    st.sampled_from(["http://a", "b:1", "http://[", "https://c/x", "llama", "prefill"]),
)
_NAMES = st.sampled_from(["url", "name", "models", "role", "drained", "kv_events_port", "x"])
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(_NAMES | st.text(max_size=4), inner, max_size=6),
    ),
    max_leaves=12,
)


class TestWhateverIsThere:
    """A file is read or is wrong; nothing else may happen."""

    def either(self, folders: pytest.TempPathFactory, content: bytes) -> None:
        file = folders.getbasetemp() / "any.yaml"
        file.write_bytes(content)
        problems, targets = [f"{file}:1"], ()
        try:
            targets = read(file)
        except ConfigurationError as error:
            problems = error.problems
        assert problems
        assert all(problem.startswith(str(file)) for problem in problems)
        assert all(isinstance(target, Target) for target in targets)

    @given(value=_VALUES | st.lists(_VALUES, max_size=5))
    def test_values(self, tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
        self.either(
            tmp_path_factory, yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "replace")
        )

    @given(text=st.text(alphabet=st.sampled_from("-[]{}:,#&*!|>'\"%@`?<\n\t ab1~.0"), max_size=60))
    @example("- !!timestamp 2001-99-99\n")
    @example("- !!python/object:os.system x\n")
    @example("- &a [*a]\n")
    @example("- &a {url: http://a, models: *a}\n")
    @example("- {url: http://a, models: &a [*a]}\n")
    @example("- !!binary x\n")
    @example("- {!!set {a}: 1}\n")
    @example("- 0x\n- 1:99\n- .inf\n- =\n")
    @example("- " + "[" * 1500)
    @example("- {url: http://a, name: " + "1" * 5000 + "}")
    @example("a" * 200)
    def test_texts(self, tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
        self.either(tmp_path_factory, text.encode())

    @given(content=st.binary(max_size=40))
    @example(b"\xff\xfe")
    @example(b"- \x00\n")
    def test_bytes(self, tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
        self.either(tmp_path_factory, content)
