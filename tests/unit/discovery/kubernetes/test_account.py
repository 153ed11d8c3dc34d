"""Where the API server is, and what it is shown."""

import ssl
from pathlib import Path

import pytest

from router.config_file import ConfigurationError
from router.discovery.kubernetes.account import Account


@pytest.mark.parametrize(
    ("api", "host", "port", "authority", "prefix"),
    [
        (None, "10.96.0.1", "443", "10.96.0.1:443", b""),
        (None, "10.96.0.1", None, "10.96.0.1:443", b""),
        (None, "fd00:10:96::1", "6443", "[fd00:10:96::1]:6443", b""),
        (None, "[fd00:10:96::1]", "6443", "[fd00:10:96::1]:6443", b""),
        ("https://k.example/k8s/c-1", "10.96.0.1", "443", "k.example:443", b"/k8s/c-1"),
        ("http://127.0.0.1:8001", None, None, "127.0.0.1:8001", b""),
    ],
)
def test_address(
    api: str | None, host: str | None, port: str | None, authority: str, prefix: bytes
) -> None:
    address = Account.find(api, host=host, port=port).address
    assert (address.authority, address.prefix) == (authority, prefix)


@pytest.mark.parametrize(
    ("api", "host", "said"),
    [
        (None, None, "does not run in a cluster"),
        (None, "", "does not run in a cluster"),
        ("ftp://k.example", None, "the scheme must be http or https"),
    ],
)
def test_no_address(api: str | None, host: str | None, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"kubernetes_api: .*{said}"):
        Account.find(api, host=host)


def test_token_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    account = Account.find("https://k.example", token_file=file)
    assert account.token() is None
    file.write_text("first\n")
    assert account.token() == "first"
    file.write_text("second")
    assert account.token() == "second"
    assert "second" not in repr(account)


def test_token_is_not_shown_in_the_clear(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    assert Account.find("http://k.example", token_file=tmp_path / "token").token() is None


@pytest.mark.parametrize("text", ["", "\n", "two words", "line\nline", "schlüssel"])
def test_what_is_no_token(text: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(ValueError, match="has no token"):
        Account.find("https://k.example", token_file=file).token()


def test_namespace(tmp_path: Path) -> None:
    account = Account.find("https://k.example", token_file=tmp_path / "token")
    assert account.namespace() is None
    (tmp_path / "namespace").write_text("gpu\n")
    assert account.namespace() == "gpu"


def test_authorities(tmp_path: Path, token_file: Path) -> None:
    authorities = token_file.with_name("ca.crt")
    context = Account.find("https://k.example", ca_file=authorities).tls()
    assert context is not None
    assert len(context.get_ca_certs()) == 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert Account.find("http://k.example", ca_file=authorities).tls() is None
    authorities.write_text("nobody")
    with pytest.raises(ValueError, match="has no certificates of authorities"):
        Account.find("https://k.example", ca_file=authorities).tls()


def test_the_system_s_authorities(tmp_path: Path) -> None:
    assert Account.find("https://k.example", ca_file=tmp_path / "none").tls() is not None
