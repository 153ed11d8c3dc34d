"""TLS to clients and workers: who must show what, and certificates that are replaced while the router runs."""

import asyncio
import shutil
import socket
import ssl
from pathlib import Path

import pytest

from router.fleet.target import Target
from router.fleet.worker import Worker
from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import RunningRouter, chat, eventually
from tests.fakes.certificate import Certificate, make_certificate
from tests.fakes.client import connect, request
from tests.fakes.worker import FakeWorker


@pytest.fixture
def another(tmp_path: Path, certificate: Certificate) -> Certificate:
    """A certificate of somebody else's."""
    openssl = shutil.which("openssl")
    assert openssl is not None
    folder = tmp_path / "another"
    folder.mkdir()
    return make_certificate(folder, openssl)


def trusting(server: Certificate, shown: Certificate | None = None) -> ssl.SSLContext:
    context = server.client()
    if shown is not None:
        context.load_cert_chain(shown.cert, shown.key)
    return context


async def served(router: RunningRouter, context: ssl.SSLContext) -> bool:
    """A client with this context gets an answer."""
    try:
        async with connect("127.0.0.1", router.port, tls=context) as client:
            return (await client.call("/v1/chat/completions", chat())).status == 200
    except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
        return False


# -- clients -----------------------------------------------------------------------------------


async def test_clients_must_show_a_certificate(
    worker: FakeWorker, start_router: StartRouter, certificate: Certificate, another: Certificate
) -> None:
    router = await start_router(
        worker,
        tls=certificate.client(),
        tls_cert_file=certificate.cert,
        tls_key_file=certificate.key,
        tls_client_ca_file=another.cert,
    )
    assert await served(router, trusting(certificate, another))
    assert not await served(router, trusting(certificate))
    assert not await served(router, trusting(certificate, certificate))
    assert len(worker.requests) == 1


async def test_old_versions_are_refused(
    worker: FakeWorker, start_router: StartRouter, certificate: Certificate
) -> None:
    router = await start_router(
        worker,
        tls=certificate.client(),
        tls_cert_file=certificate.cert,
        tls_key_file=certificate.key,
    )
    assert router.app.tls is not None
    assert router.app.tls.minimum_version == ssl.TLSVersion.TLSv1_2
    for version, fits in ((ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)):
        context = certificate.client()
        context.maximum_version = context.minimum_version = version
        assert await served(router, context) is fits


async def test_plain_http_is_no_harm(
    worker: FakeWorker, start_router: StartRouter, certificate: Certificate
) -> None:
    router = await start_router(
        worker,
        tls=certificate.client(),
        tls_cert_file=certificate.cert,
        tls_key_file=certificate.key,
    )
    async with connect("127.0.0.1", router.port) as client:
        await client.send(request("GET", "/health"))
        assert b"200" not in await client.at_end()
    with socket.create_connection(("127.0.0.1", router.port)):  # says nothing at all
        assert await served(router, certificate.client())


async def test_certificate_that_is_replaced(
    worker: FakeWorker,
    start_router: StartRouter,
    certificate: Certificate,
    another: Certificate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """New connections see the new one, those that are open go on; half of a pair changes nothing."""
    monkeypatch.setattr("router.app._CERTIFICATES_S", 0.1)
    cert, key = shutil.copy(certificate.cert, tmp_path), shutil.copy(certificate.key, tmp_path)
    router = await start_router(
        worker, tls=certificate.client(), tls_cert_file=cert, tls_key_file=key
    )
    async with router.connect() as client:
        assert (await client.call("/v1/chat/completions", chat())).status == 200
        shutil.copy(another.cert, cert)
        await eventually(lambda: "the old ones are kept" in caplog.text)
        assert await served(router, certificate.client())
        shutil.copy(another.key, key)

        async with asyncio.timeout(5.0):
            while not await served(router, another.client()):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert not await served(router, certificate.client())
        assert (await client.call("/v1/chat/completions", chat())).status == 200


# -- workers -----------------------------------------------------------------------------------


def demanding(server: Certificate, clients: Certificate) -> ssl.SSLContext:
    """A worker's context that lets in who shows this certificate."""
    context = server.server()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(clients.cert)
    return context


def _error(worker: Worker) -> str:
    return worker.last_error or ""


@pytest.mark.parametrize("separate", [True, False], ids=["two files", "one file"])
async def test_worker_that_demands_a_certificate(
    separate: bool,
    start_worker: StartWorker,
    start_router: StartRouter,
    certificate: Certificate,
    another: Certificate,
    tmp_path: Path,
) -> None:
    worker = await start_worker(tls=demanding(certificate, another))
    both = tmp_path / "both.pem"
    both.write_bytes(another.cert.read_bytes() + another.key.read_bytes())
    own = (
        {"worker_cert_file": another.cert, "worker_key_file": another.key}
        if separate
        else {"worker_cert_file": both}
    )
    router = await start_router(worker, worker_ca_file=certificate.cert, **own)
    assert (await router.post(chat())).status == 200


async def test_worker_that_demands_a_certificate_we_do_not_have(
    start_worker: StartWorker,
    start_router: StartRouter,
    certificate: Certificate,
    another: Certificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("router.app._FIRST_PROBE_S", 0.3)
    worker = await start_worker(tls=demanding(certificate, another))
    router = await start_router(worker, worker_ca_file=certificate.cert)
    await eventually(lambda: bool(_error(router.workers[0])))
    assert not router.workers[0].up
    assert (await router.post(chat())).status in (502, 503)


async def test_a_worker_s_certificate_may_be_for_its_name(
    certificate: Certificate, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Where names are resolved, the address is connected to and the name is what is certified."""
    worker = await start_worker(tls=certificate.server())
    router = await start_router(worker, worker_ca_file=certificate.cert)
    url = worker.url.replace("localhost", "127.0.0.1")
    fleet = router.app.fleet

    def again(name: str) -> Worker:
        fleet.set_targets([])
        fleet.set_targets([Target(url=url, server_name=name)])
        return next(iter(fleet))

    stranger = again("elsewhere.example")
    await eventually(lambda: stranger.last_error is not None)
    assert "certificate" in str(stranger.last_error)
    known = again("localhost")
    await eventually(lambda: known.up)
