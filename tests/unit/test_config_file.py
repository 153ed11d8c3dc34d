"""Reading a YAML file of settings."""

from collections.abc import Callable
from pathlib import Path

import pytest

from router.config_file import ConfigurationError, read, read_list

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str | bytes) -> Path:
        file = tmp_path / "router.yaml"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file

    return write


def problem(file: Path) -> str:
    """The one thing that is wrong with a file, without its folder."""
    with pytest.raises(ConfigurationError) as caught:
        read(file)
    (found,) = caught.value.problems
    return found.removeprefix(f"{file.parent}/")


def test_values_and_their_lines(write: Write) -> None:
    values, lines = read(write("# comment\nport: 1\nworkers:\n  - http://a:1\n  - b\n"))
    assert values == {"port": 1, "workers": ["http://a:1", "b"]}
    assert lines == {"port": 2, "workers": 3, "workers.0": 4, "workers.1": 5}


def test_the_lines_of_a_table(write: Write) -> None:
    values, lines = read(write("tokenizers:\n  a: /x\n\n  b: /y\n"))
    assert values == {"tokenizers": {"a": "/x", "b": "/y"}}
    assert lines == {"tokenizers": 1, "tokenizers.a": 2, "tokenizers.b": 4}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}\n", "null\n"])
def test_an_empty_file(write: Write, text: str) -> None:
    assert read(write(text)) == ({}, {})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert problem(tmp_path / "none.yaml") == "none.yaml: No such file or directory"


def test_a_folder(tmp_path: Path) -> None:
    assert "directory" in problem(tmp_path)


@pytest.mark.parametrize("text", ["- a\n", "text\n", "5\n"])
def test_a_file_that_holds_no_settings(write: Write, text: str) -> None:
    expected = "router.yaml:1: the file must hold settings, `name: value` each"
    assert problem(write(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "port: [\n",
        "a: b: c\n",
        "\tport: 1\n",
        "a: 1\n---\nb: 2\n",
        "port: \x01\n",
        "host: !python/object:os.system x\n",
        "? [a]\n: b\n",
        "host: *nowhere\n",
    ],
)
def test_a_file_that_is_not_valid_yaml(write: Write, text: str) -> None:
    found = problem(write(text))
    assert found.startswith("router.yaml")
    assert "not valid YAML" in found


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("2001-99-99", "timestamp"),
        ("0x_", "int"),
        ("9" * 5000, "int"),
        ("!!int x", "int"),
        ("!!int ''", "int"),
        ("!!float ''", "float"),
        ("!!bool x", "bool"),
        ("!!timestamp x", "timestamp"),
    ],
)
@pytest.mark.parametrize(("before", "line"), [("a: b\nport: ", 2), ("workers:\n  - a\n  - ", 3)])
def test_a_value_that_is_none(write: Write, before: str, line: int, value: str, kind: str) -> None:
    """Told without the value: it may be a secret."""
    expected = f"not valid YAML: the value is taken for `{kind}` and is none; text goes in quotes"
    assert problem(write(before + value + "\n")) == f"router.yaml:{line}: {expected}"


@pytest.mark.parametrize("text", ["port: " + "[" * 5000, "port: " + "{a: " * 5000])
def test_a_file_that_is_very_deep(write: Write, text: str) -> None:
    assert problem(write(text + "\n")) == "router.yaml: lists or tables are nested too deeply"


def test_a_file_that_is_not_text(write: Write) -> None:
    assert problem(write(b"host: \xff\xfe\n")).startswith("router.yaml: not valid YAML")


@pytest.mark.parametrize(("text", "name"), [("1: x\n", "1"), ("on: x\n", "on"), ("~: x\n", "~")])
def test_names_that_yaml_does_not_take_for_text(write: Write, text: str, name: str) -> None:
    assert read(write(text)) == ({name: "x"}, {name: 1})


def test_anchors(write: Write) -> None:
    values, _ = read(write("workers: &w [http://a:1]\nallow_paths: *w\n"))
    assert values["allow_paths"] == ["http://a:1"]


def test_a_name_given_twice(write: Write) -> None:
    file = write("port: 1\nhost: a\nport: 2\n'host': b\n")
    with pytest.raises(ConfigurationError) as caught:
        read(file)
    assert caught.value.problems == [
        f"{file}:3: port: given a second time",
        f"{file}:4: host: given a second time",
    ]


class TestList:
    """A file that is a list."""

    def problems(self, file: Path) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            read_list(file)
        return [problem.removeprefix(f"{file.parent}/") for problem in caught.value.problems]

    def test_items_and_their_lines(self, write: Write) -> None:
        items, lines = read_list(
            write("# c\n- a\n- on: 1\n  b:\n    - x\n    - y\n- [1, {c: 2}]\n- \n")
        )
        assert items == ["a", {"on": 1, "b": ["x", "y"]}, [1, {"c": 2}], None]
        assert lines == {
            "0": 2,
            "1": 3,
            "1.on": 3,
            "1.b": 4,
            "1.b.0": 5,
            "1.b.1": 6,
            "2": 7,
            "3": 8,
        }

    def test_none(self, write: Write) -> None:
        assert read_list(write("[]\n")) == ([], {})

    @pytest.mark.parametrize("text", ["", "# nothing\n", "null\n", "a: 1\n", "text\n", "---\n"])
    def test_what_is_no_list(self, write: Write, text: str) -> None:
        expected = "router.yaml:1: the file must hold a list, `- item` each, or `[]`"
        assert self.problems(write(text)) == [expected]

    def test_names_given_twice(self, write: Write) -> None:
        text = "- a: 1\n  a: 2\n- b: {c: 1,\n  c: 2}\n"
        assert self.problems(write(text)) == [
            "router.yaml:2: a: given a second time",
            "router.yaml:4: b.c: given a second time",
        ]

    @pytest.mark.parametrize(
        "text", ["- [\n", "- ? [a]\n  : b\n", "- !!int x\n", "- a\nb: 1\n", b"- \xff"]
    )
    def test_what_is_no_yaml(self, write: Write, text: str | bytes) -> None:
        (found,) = self.problems(write(text))
        assert "not valid YAML" in found

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        assert self.problems(tmp_path / "none.yaml") == ["none.yaml: No such file or directory"]
