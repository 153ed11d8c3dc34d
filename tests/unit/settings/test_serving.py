"""What of serving is refused, and how lists are written."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from router.settings import Settings


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    file = tmp_path / "some.pem"
    file.touch()
    return file


@pytest.mark.parametrize(
    ("value", "origins"),
    [
        ("*", ["*"]),
        (
            "https://a.example, http://localhost:3000",
            ["https://a.example", "http://localhost:3000"],
        ),
        (["https://A.Example"], ["https://a.example"]),
        ("chrome-extension://abc", ["chrome-extension://abc"]),
        ("http://[::1]:3000", ["http://[::1]:3000"]),
        ("", []),
    ],
)
def test_origins(value: Any, origins: list[str]) -> None:
    assert Settings(cors_origins=value).cors_origins == origins


@pytest.mark.parametrize("name", ["host", "admin_host"])
@pytest.mark.parametrize("value", ["0.0.0.0:8080", "router:80"])
def test_a_port_behind_the_address(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match="the port is a setting of its own"):
        Settings.model_validate({name: value})


@pytest.mark.parametrize("value", ["0.0.0.0", "::", "::1", "fd00::8080", "router", ""])
def test_addresses(value: str) -> None:
    assert Settings(host=value).host == value


def test_a_pattern_that_fits_no_path() -> None:
    with pytest.raises(ValidationError, match="'sleep' fits no path: it has to begin with a slash"):
        Settings(allow_paths=["/v2/*", "sleep"])


@pytest.mark.parametrize(
    "value", ["a.example", "https://a.example/", "https://a.example/x", "null", "https://*.example"]
)
def test_what_is_no_origin(value: str) -> None:
    with pytest.raises(ValidationError, match="is no origin"):
        Settings(cors_origins=[value])


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"port": 80, "admin_port": 80}, "another one than port"),
        ({"body_limit": 10, "body_memory_limit": 9}, "must not be below body_limit"),
        ({"tls_client_ca_file": "PEM"}, "needs tls_cert_file"),
        ({"tls_cert_file": "PEM"}, "go together"),
        ({"worker_key_file": "PEM"}, "needs a worker_cert_file"),
        ({"drain_grace_s": -1}, "drain_grace_s"),
        ({"max_connections": 0}, "max_connections"),
        ({"receive_timeout_s": 0}, "receive_timeout_s"),
        ({"client_stall_timeout_s": 0}, "client_stall_timeout_s"),
        ({"admin_key": "a b"}, "admin_key"),
    ],
)
def test_what_does_not_go(values: dict[str, Any], why: str, pem: Path) -> None:
    given = {name: pem if value == "PEM" else value for name, value in values.items()}
    with pytest.raises(ValidationError, match=why):
        Settings(**given)


def test_the_key_is_not_shown() -> None:
    assert "s3cret" not in repr(Settings(admin_key="s3cret"))
