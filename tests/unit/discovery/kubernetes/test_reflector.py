"""The copy of a list is right again after everything that can happen to an API server and the way to it."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from router.discovery.kubernetes import collection, reflector
from router.discovery.kubernetes.account import Account
from router.discovery.kubernetes.reflector import Pace
from router.discovery.kubernetes.source import KubernetesWorkers
from tests.fakes.kubernetes import TOKEN, KubernetesApi
from tests.fakes.kubernetes_objects import CREATED, Object, evicted, pod, status
from tests.fakes.kubernetes_table import QUICK, Table, account_of, following


def source(account: Account, pace: Pace = QUICK) -> KubernetesWorkers:
    return KubernetesWorkers.of_pods(account, "default", "app=vllm", None, pace)


def two(api: KubernetesApi) -> tuple[Object, Object]:
    pods = pod("vllm-0", "10.0.0.1"), pod("vllm-1", "10.0.0.2")
    api.create(*pods)
    return pods


async def watched(api: KubernetesApi, count: int = 1) -> None:
    async with asyncio.timeout(10):
        while api.watches < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def asked_again(api: KubernetesApi, *, watch: bool, more: int = 1) -> None:
    """Wait until so many more such requests have come."""
    goal = len(api.asked("pods", watch=watch)) + more
    async with asyncio.timeout(10):
        while len(api.asked("pods", watch=watch)) < goal:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def still_follows(api: KubernetesApi, table: Table) -> None:
    """What happens from now on is told."""
    api.create(pod("vllm-9", "10.0.0.9"))
    async with asyncio.timeout(10):
        while "10.0.0.9" not in table.hosts:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


# -- lists -------------------------------------------------------------------------------------


async def test_pages(api: KubernetesApi, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "_PAGE", 3)
    api.create(*(pod(f"vllm-{n}", f"10.0.1.{n}") for n in range(8)))
    async with following(source(account)) as table:
        await table.is_(*(f"10.0.1.{n}" for n in range(8)))
    assert len(api.asked("pods", watch=False)) == 3
    assert len({id(request.wire) for request in api.requests}) == 1, "one connection is enough"


async def test_a_page_that_is_expired(
    api: KubernetesApi, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is asked for anew, in one piece."""
    monkeypatch.setattr(collection, "_PAGE", 3)
    api.on_page = api.forget_pages
    api.create(*(pod(f"vllm-{n}", f"10.0.1.{n}") for n in range(8)))
    async with following(source(account)) as table:
        await table.is_(*(f"10.0.1.{n}" for n in range(8)))
        assert table.source.problem is None
    assert ["limit" in each for each in api.asked("pods", watch=False)] == [True, True, False]


async def test_changes_between_list_and_watch(
    api: KubernetesApi, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "_PAGE", 1)
    first, _ = two(api)
    api.on_page = lambda: api.delete(first)
    async with following(source(account)) as table:
        await table.is_("10.0.0.2")


# -- watches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("in_lines", [True, False], ids=["event", "status"])
async def test_what_is_forgotten(in_lines: bool, api: KubernetesApi, account: Account) -> None:
    """410 Gone: it is listed at once, and that is no problem."""
    api.in_lines = in_lines
    first, _ = two(api)
    async with following(
        source(account, replace(QUICK, pause_s=60.0, longest_pause_s=60.0))
    ) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        await watched(api)
        api.delete(first, unseen=True)
        api.compact()
        await table.is_("10.0.0.2")
        await still_follows(api, table)
        assert table.source.problem is None


async def test_forgotten_again_and_again(api: KubernetesApi, account: Account) -> None:
    """It is not asked without a pause."""
    two(api)
    async with following(
        source(account, replace(QUICK, pause_s=60.0, longest_pause_s=60.0))
    ) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        api.raw = gone = b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"
        await api.drop()
        await asyncio.sleep(0.3)
        assert api.raw is gone
        assert len(api.requests) < 12


async def test_bookmarks(api: KubernetesApi, account: Account) -> None:
    """Where nothing else happens they move the version on, so that it is not forgotten."""
    two(api)
    async with following(source(account, replace(QUICK, watch_s=1.0))) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        await watched(api)
        listed = len(api.asked("pods", watch=False))
        api.bookmark()
        marked = api.version
        await asked_again(api, watch=True)
        assert api.asked("pods", watch=True)[-1]["resourceVersion"] == str(marked)
        assert api.asked("pods", watch=True)[-1]["allowWatchBookmarks"] == "true"
        assert len(api.asked("pods", watch=False)) == listed
        await still_follows(api, table)


async def test_an_event_that_was_missed(api: KubernetesApi, account: Account) -> None:
    """It is found out by listing every so often."""
    first, _ = two(api)
    async with following(source(account, replace(QUICK, resync_s=1.0))) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        await watched(api)
        api.delete(first, unseen=True)
        await table.is_("10.0.0.2")


async def test_a_watch_that_breaks_off(
    api: KubernetesApi, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is gone on with from where it was, without a list and without a word."""
    monkeypatch.setattr(reflector, "_SOUND_S", 0.0)
    first, _ = two(api)
    async with following(source(account)) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        await watched(api)
        await api.drop()
        api.delete(first)
        await table.is_("10.0.0.2")
        assert len(api.asked("pods", watch=False)) == 1
        assert table.source.problem is None


async def test_watches_that_end_at_once(api: KubernetesApi, account: Account) -> None:
    """Changes are found by lists then, with pauses."""
    first, _ = two(api)
    async with following(source(account)) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        await watched(api)
        api.deaf = True
        drops = asyncio.ensure_future(_dropping(api))
        await table.until_problem("ends every watch at once")
        api.delete(first)
        await table.is_("10.0.0.2")
        api.deaf = False
        drops.cancel()
        await table.until_well()


async def _dropping(api: KubernetesApi) -> None:
    while True:
        if api.watches:
            await api.drop()
        await asyncio.sleep(0.005)


async def test_half_open_watch(
    api: KubernetesApi, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection on which nothing comes, not even the end, is given up soon after that was due."""
    first, _ = two(api)
    api.deaf = True
    async with following(source(account, replace(QUICK, watch_s=1.0, grace_s=0.2))) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        await watched(api)
        api.delete(first)
        await table.is_("10.0.0.2")
        api.deaf = False
        await still_follows(api, table)
        await table.until_well()
    assert "has not ended an answer within 1.2 s" in caplog.text


# -- who may -----------------------------------------------------------------------------------


async def test_token_that_is_replaced(
    api: KubernetesApi, account: Account, token_file: Path
) -> None:
    first, _ = two(api)
    async with following(source(account)) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        api.tokens = {"another"}
        await api.drop()
        problem = await table.until_problem("HTTP 401")
        assert f"does not accept the token in {token_file}" in problem
        assert TOKEN not in problem
        assert table.hosts == ["10.0.0.1", "10.0.0.2"]
        token_file.write_text("another\n")  # noqa: ASYNC240
        api.delete(first)
        await table.is_("10.0.0.2")
        await table.until_well()


async def test_right_that_is_missing(
    api: KubernetesApi, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    """It says which rule is to be added; what was known stands."""
    caplog.set_level(logging.INFO)
    first, _ = two(api)
    async with following(source(account)) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        api.forbidden = {"list pods", "watch pods"}
        await api.drop()
        problem = await table.until_problem("may not read pods in namespace default")
        assert 'apiGroups [""], resources ["pods"], verbs ["get", "list", "watch"]' in problem
        api.delete(first)
        await asked_again(api, watch=False, more=3)
        assert table.hosts == ["10.0.0.1", "10.0.0.2"]
        api.forbidden = set()
        await table.is_("10.0.0.2")
        await table.until_well()
    assert caplog.text.count("may not read pods") == 1
    assert "is known again" in caplog.text


async def test_nothing_stays_open(api: KubernetesApi, account: Account) -> None:
    """Not even a connection that was kept for the next time."""
    api.forbidden = {"list pods"}
    async with following(
        source(account, replace(QUICK, pause_s=60.0, longest_pause_s=60.0))
    ) as table:
        await table.until_problem("HTTP 403")
        assert len(api.wires) == 1
    await api.until_left()


async def test_lists_without_watches(api: KubernetesApi, account: Account) -> None:
    """Who may not watch is told what the lists say."""
    api.forbidden = {"watch pods"}
    first, _ = two(api)
    async with following(source(account)) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        await table.until_problem('"watch"')
        api.delete(first)
        await table.is_("10.0.0.2")


# -- what is broken ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\noops", "HTTP 500: oops"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nnot JSON!", "is not understood"),
        (b'HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{"metadata":{}', "is not understood"),
        (b"", "API server 127.0.0.1:"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "invalid HTTP response"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", "before its answer was complete"),
    ],
)
async def test_nonsense(raw: bytes, said: str, api: KubernetesApi, account: Account) -> None:
    """What was known stands, and is followed again as soon as that is possible."""
    first, _ = two(api)
    async with following(source(account)) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        await watched(api)
        api.raw = raw
        api.delete(first, unseen=True)
        await api.drop()
        problem = await table.until_problem(said)
        assert "orker 1" not in problem, "it is no worker"
        assert table.hosts == ["10.0.0.1", "10.0.0.2"]
        api.raw = None
        await table.is_("10.0.0.2")
        await table.until_well()


async def test_server_error(api: KubernetesApi, account: Account) -> None:
    first, _ = two(api)
    async with following(source(account)) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        api.fault = 500
        await api.drop()
        await table.until_problem("HTTP 500: etcdserver: request timed out")
        api.delete(first)
        api.fault = None
        await table.is_("10.0.0.2")
        await table.until_well()


async def test_busy_server_is_left_alone(api: KubernetesApi, account: Account) -> None:
    api.fault, api.retry_after = 429, "600"
    async with following(source(account, replace(QUICK, longest_pause_s=600.0))) as table:
        await table.until_problem("HTTP 429")
        await asyncio.sleep(0.3)
    assert len(api.requests) == 1


async def test_busy_server_is_not_left_alone_for_ever(
    api: KubernetesApi, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy in front of it may say an hour for a moment's trouble."""
    two(api)
    api.fault, api.retry_after = 429, "3600"
    async with following(source(account)) as table:
        await table.until_problem("HTTP 429")
        api.fault = None
        await table.is_("10.0.0.1", "10.0.0.2")
    assert "asked again in" in caplog.text


async def test_server_that_is_gone_and_comes_back(api: KubernetesApi, account: Account) -> None:
    first, _ = two(api)
    async with following(source(account)) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        await api.stop()
        await table.until_problem("cannot be reached")
        assert table.hosts == ["10.0.0.1", "10.0.0.2"]
        api.delete(first, unseen=True)
        await api.start()
        await table.is_("10.0.0.2")
        await table.until_well()
        await still_follows(api, table)


async def test_server_that_is_not_there_at_first(api: KubernetesApi, account: Account) -> None:
    two(api)
    await api.stop()
    async with following(source(account)) as table:
        await table.until_problem("cannot be reached")
        assert table.told == []
        await api.start()
        await table.is_("10.0.0.1", "10.0.0.2")
        await table.until_well()


async def test_slow_server(api: KubernetesApi, account: Account) -> None:
    api.slow_s = 0.3
    two(api)
    async with following(source(account)) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        await still_follows(api, table)


async def test_server_of_another_authority(
    api: KubernetesApi, token_file: Path, tmp_path: Path
) -> None:
    """The token is not shown to it."""
    token_file.with_name("ca.crt").unlink()
    async with following(source(account_of(api, token_file))) as table:
        problem = await table.until_problem("certificate")
        assert "API server" in problem
    assert api.requests == []


async def test_pauses_grow(account: Account, api: KubernetesApi) -> None:
    followed = source(account, Pace(pause_s=1.0, longest_pause_s=30.0))._main
    pauses = [followed._failed() for _ in range(20)]
    assert 0.5 <= pauses[0] <= 1.5
    assert 4.0 <= pauses[3] <= 12.0
    assert all(15.0 <= pause <= 45.0 for pause in pauses[6:])


async def test_a_defect_of_ours_takes_nobody_away(
    api: KubernetesApi, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = two(api)
    async with following(source(account)) as table:
        await table.is_("10.0.0.1", "10.0.0.2")
        with monkeypatch.context() as patch:
            patch.setattr(reflector, "listed", _broken)
            await api.drop()
            await table.until_problem("ZeroDivisionError")
            api.delete(first)
            assert table.hosts == ["10.0.0.1", "10.0.0.2"]
        await table.is_("10.0.0.2")


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens(seed: int, api: KubernetesApi, account: Account) -> None:
    """In the end the table is what the cluster has."""
    draw = Random(seed)
    cluster: dict[str, Object] = {}
    following_ = source(account, replace(QUICK, resync_s=1.0, watch_s=1.0, grace_s=0.2))
    async with following(following_) as table:
        for turn in range(60):
            _change(draw, api, cluster, turn)
            await _trouble(draw, api)
        api.fault, api.forbidden, api.deaf, api.in_lines = None, set(), False, False
        await table.is_(*(each for each in map(_host, cluster.values()) if each))
        await table.until_well()


def _host(pod_: Object) -> str:
    """What the table should say of the pod."""
    meta, now = pod_["metadata"], pod_["status"]
    ready = {"type": "Ready", "status": "True"}.items()
    if now["phase"] != "Running" or not any(ready <= c.items() for c in now["conditions"]):
        return ""
    return (
        now["podIP"] + "-" * ("deletionTimestamp" in meta)
        if meta["labels"]["app"] == "vllm"
        else ""
    )


def _change(draw: Random, api: KubernetesApi, cluster: dict[str, Object], turn: int) -> None:
    """Something happens to a pod."""
    name, ip = f"vllm-{draw.randrange(5)}", f"10.0.{turn}.1"
    known = cluster.get(name)
    if known is None:
        cluster[name] = new = pod(name, ip, ready=draw.random() < 0.7)
        api.create(new)
        return
    how = draw.choice(["ready", "ready", "evicted", "label", "terminating", "gone", "missed"])
    if how in ("gone", "missed"):
        api.delete(cluster.pop(name), unseen=how == "missed")
        return
    meta, now = {**known["metadata"]}, known["status"]
    if how == "terminating":
        meta["deletionTimestamp"] = CREATED
    elif how == "label":
        meta["labels"] = {**meta["labels"], "app": draw.choice(["vllm", "debug"])}
    else:
        now = evicted() if how == "evicted" else status("Running", ip, ready=draw.random() < 0.7)
    cluster[name] = {**known, "metadata": meta, "status": now}
    api.create(cluster[name])


async def _trouble(draw: Random, api: KubernetesApi) -> None:
    """Something happens to the API server, or nothing."""
    how = draw.randrange(16)
    api.fault = 500 if how == 0 else None
    api.forbidden = {"watch pods"} if how == 1 else set()
    api.deaf = how == 2
    api.in_lines = bool(draw.randrange(2))
    if how == 3:
        api.compact()
    elif how == 4:
        await api.drop()
    elif how == 5:
        await api.stop()
        await asyncio.sleep(0.02)
        await api.start()
    elif how == 6:
        api.bookmark()
    await asyncio.sleep(draw.choice([0.0, 0.0, 0.01, 0.05]))


async def _broken(*args: object) -> None:
    raise ZeroDivisionError
