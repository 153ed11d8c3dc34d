"""What the API server is asked with, and what is made of its answers."""

import asyncio
from pathlib import Path

import pytest

from router.discovery.kubernetes import client as module
from router.discovery.kubernetes.account import Account
from router.discovery.kubernetes.client import ApiError, Client, GoneError, error_of
from router.discovery.kubernetes.objects import Status
from tests.fakes.kubernetes import TOKEN, KubernetesApi
from tests.fakes.kubernetes_objects import pod

PODS = "/api/v1/namespaces/default/pods"


def nothing(line: bytes = b"") -> None:
    pass


async def test_request(api: KubernetesApi, account: Account) -> None:
    client = Client(account)
    for _ in range(2):
        body = await client.get(PODS, "application/json")
        assert body.startswith(b'{"kind": "PodList"')
    client.close()
    first, second = api.requests
    assert first.method == "GET"
    assert first.header("host") == account.address.authority
    assert first.header("authorization") == f"Bearer {TOKEN}"
    assert first.header("accept") == "application/json"
    assert first.header("user-agent") == "prefix-router"
    assert first.wire is second.wire


async def test_through_a_proxy() -> None:
    """As `kubectl proxy`, below a path: nothing is shown to it."""
    async with KubernetesApi() as api:
        api.tokens = set()
        client = Client(Account.find(f"{api.url}/k8s/clusters/c-1/", token_file=Path("none")))
        with pytest.raises(ApiError, match="could not find the requested resource"):
            await client.get(PODS, "application/json")
        client.close()
        assert api.requests[0].target == f"/k8s/clusters/c-1{PODS}"
        assert api.requests[0].header("authorization") is None


async def test_connection_that_was_closed_meanwhile(
    api: KubernetesApi, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_IDLE_S", 0.05)
    client = Client(account)
    await client.get(PODS, "application/json")
    await api.drop()
    await asyncio.sleep(0.1)
    await client.get(PODS, "application/json")
    client.close()


async def test_stream(api: KubernetesApi, account: Account) -> None:
    lines: list[bytes] = []
    api.create(pod("a", "10.0.0.1"))
    client = Client(account)
    target = f"{PODS}?watch=1&resourceVersion=1000&timeoutSeconds=1"
    await client.stream(target, "application/json", lines.append, nothing, 10.0)
    client.close()
    assert [line[:16] for line in lines] == [b'{"type": "ADDED"']


@pytest.mark.parametrize(
    ("status", "fields", "body", "kind", "said"),
    [
        (403, "", '{"message":"not you","code":403}', ApiError, "HTTP 403: not you"),
        (410, "", '{"reason":"Expired","code":410}', GoneError, "HTTP 410: Expired"),
        (410, "", "", GoneError, "HTTP 410"),
        (504, "", "<html>Gateway</html>", ApiError, "HTTP 504: <html>Gateway</html>"),
        (502, "", "\\xff" * 4, ApiError, "HTTP 502"),
        (301, "location: /\r\n", "", ApiError, "HTTP 301"),
    ],
)
async def test_refusals(
    status: int,
    fields: str,
    body: str,
    kind: type[ApiError],
    said: str,
    api: KubernetesApi,
    account: Account,
) -> None:
    head = f"HTTP/1.1 {status} X\r\n{fields}content-length: {len(body)}\r\n\r\n"
    api.raw = (head + body).encode()
    client = Client(account)
    with pytest.raises(ApiError) as caught:
        await client.get(PODS, "application/json")
    client.close()
    assert type(caught.value) is kind
    assert str(caught.value).startswith(said)
    assert caught.value.status == status


async def test_when_to_come_back(api: KubernetesApi, account: Account) -> None:
    api.fault, api.retry_after = 429, "7"
    client = Client(account)
    with pytest.raises(ApiError) as caught:
        await client.get(PODS, "application/json")
    client.close()
    assert caught.value.retry_after_s == 7.0


async def test_answer_that_does_not_come(api: KubernetesApi, account: Account) -> None:
    api.slow_s = 60.0
    client = Client(account, answer_s=0.2)
    with pytest.raises(ApiError, match=r"^The API server .* has not ended an answer within 0\.2 s"):
        await client.get(PODS, "application/json")
    await api.until_left()
    client.close()


async def test_answer_that_is_too_long(
    api: KubernetesApi, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ANSWER_BYTES", 10)
    client = Client(account)
    with pytest.raises(ApiError, match="says too much: more than 10 bytes"):
        await client.get(PODS, "application/json")
    client.close()


async def test_files_that_cannot_be_used(
    api: KubernetesApi, account: Account, token_file: Path
) -> None:
    client = Client(account)
    token_file.write_text("two words")  # noqa: ASYNC240
    with pytest.raises(ApiError, match="has no token"):
        await client.get(PODS, "application/json")
    token_file.with_name("ca.crt").write_text("nobody")
    token_file.unlink()  # noqa: ASYNC240
    with pytest.raises(ApiError, match="has no certificates"):
        await client.get(PODS, "application/json")
    client.close()


async def test_out_of_sockets(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said of the API server, not of a worker."""

    async def refuse(*args: object, **named: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", refuse, raising=False)
    client = Client(Account.find("http://127.0.0.1:1"))
    with pytest.raises(ApiError) as caught:
        await client.get(PODS, "application/json")
    assert "to the API server 127.0.0.1:1: Too many open files" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (Status(code=410, reason="Expired"), GoneError),
        (Status(code=410, reason="Gone"), GoneError),
        (Status(code=500, reason="InternalError"), ApiError),
        (Status(), ApiError),
    ],
)
def test_errors_of_events(status: Status, kind: type[ApiError]) -> None:
    assert type(error_of(status)) is kind
