"""Clients' keys in the configuration: hashed at once, never shown."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from router.access.keys import digest_of
from router.settings import Settings

ONE, TWO, THREE = (digest_of(key) for key in (b"s1", b"s2=", b"s3"))


@pytest.mark.parametrize(
    "given",
    [
        "acme=s1,acme=s2=,beta=s3",
        " acme = s1 ,acme=s2= , beta=s3,",
        {"acme": ["s1", "s2="], "beta": "s3"},
        {"acme": ("s1\n", "s2="), "beta": ["s3"]},
    ],
)
def test_keys_by_tenant(given: Any) -> None:
    settings = Settings(api_keys=given)
    assert settings.api_keys == {"acme": (ONE, TWO), "beta": (THREE,)}


def test_without_any_there_are_none() -> None:
    assert Settings().api_keys is None


@pytest.mark.parametrize("given", ["", " , ", {}, None, {"acme": []}])
def test_an_empty_setting_does_not_open_the_door(given: Any) -> None:
    with pytest.raises(ValidationError, match="leave it out to serve everybody"):
        Settings(api_keys=given)


@pytest.mark.parametrize(
    "given",
    [
        "secret", "=secret", "acme=", "acme=two secrets", "acme=sécret", {"acme": 5}, {"acme": [None]},
        {5: "secret"}, ["acme=secret"], 5, {"a b": "secret"}, "a/b=secret", {"acme": {"k": "secret"}},
    ],
)  # fmt: skip
def test_mistakes_show_no_key(given: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(api_keys=given)
    assert "cret" not in str(caught.value)
    assert "cret" not in str([detail["msg"] for detail in caught.value.errors()])


def test_nor_do_the_settings() -> None:
    settings = Settings(api_keys="acme=sesame")
    digest = digest_of(b"sesame")
    for shown in (repr(settings), str(settings)):
        assert "sesame" not in shown
        assert repr(digest) not in shown
    assert "sesame" not in json.dumps(settings.model_dump(), default=repr)


def test_the_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="is not a file that can be read"):
        Settings(tenants_file=tmp_path / "none.yaml")
