"""Certificates that are read anew. What they do on connections: tests/component/test_tls.py."""

import logging
import os
import shutil
import ssl
from pathlib import Path

import pytest

from router.edge import tls
from router.edge.tls import refresh_all, server_credentials, worker_credentials
from tests.fakes.certificate import Certificate, make_certificate


@pytest.fixture
def pair(tmp_path: Path) -> Certificate:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("TLS IS NOT TESTED HERE: the openssl command is missing")
    return make_certificate(tmp_path, openssl)


def test_a_listener_demands_certificates_if_told_whose(pair: Certificate) -> None:
    context, _ = server_credentials(pair.cert, pair.key, None)
    assert context.verify_mode == ssl.CERT_NONE
    context, _ = server_credentials(pair.cert, pair.key, pair.cert)
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_workers_are_always_verified(pair: Certificate) -> None:
    for files in ((pair.cert, None, None), (None, pair.cert, pair.key), (None, None, None)):
        context, credentials = worker_credentials(*files)
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
        refresh_all(credentials)


def test_authorities_that_are_added(pair: Certificate, tmp_path: Path) -> None:
    """Nothing has to be shown for that."""
    bundle, folder = tmp_path / "bundle.pem", tmp_path / "other"
    folder.mkdir()
    other = make_certificate(folder, "openssl")
    bundle.write_bytes(pair.cert.read_bytes())
    context, credentials = worker_credentials(bundle, None, None)
    bundle.write_bytes(pair.cert.read_bytes() + other.cert.read_bytes())
    refresh_all(credentials)
    assert len(context.get_ca_certs()) == 2


def test_a_key_that_needs_a_password_is_an_error_and_no_question(
    pair: Certificate, tmp_path: Path
) -> None:
    locked = tmp_path / "locked.pem"
    command = f"openssl pkey -in {pair.key} -aes256 -passout pass:secret -out {locked}"
    assert os.system(command) == 0
    with pytest.raises(ssl.SSLError):
        server_credentials(pair.cert, locked, None)


def test_files_that_do_not_change_are_not_read_again(
    pair: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, credentials = server_credentials(pair.cert, pair.key, pair.cert)
    monkeypatch.setattr(tls.Credentials, "_load", None)
    refresh_all(credentials)


@pytest.mark.parametrize("how", ["garbage", "gone"])
def test_what_cannot_be_used_is_told_once(
    how: str, pair: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    _, credentials = server_credentials(pair.cert, pair.key, None)
    good = pair.cert.read_bytes()
    if how == "gone":
        pair.cert.unlink()
    else:
        pair.cert.write_bytes(b"garbage")
    for _ in range(3):
        refresh_all(credentials)
    assert caplog.text.count("the old ones are kept") == 1
    pair.cert.write_bytes(good + b"\n")
    refresh_all(credentials)
    assert caplog.text.count("read anew") == 1
