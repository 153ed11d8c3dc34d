"""Where events are, from what workers say and from what is configured."""

import json
from typing import Any

import pytest

from router.events.sources import ConfiguredSources, EventSource, sources_in
from router.ids import WorkerId
from router.upstream.pool import Address

GPU_1 = Address("gpu-1", 8000, tls=False, prefix=b"")
LOCAL = Address("127.0.0.1", 8000, tls=False, prefix=b"")
W = WorkerId("gpu-1:8000")
RECORDED = (
    '{"0":{"enable_kv_cache_events":true,"publisher":"zmq","endpoint":"tcp://*:5602","replay_endpoint":'
    '"tcp://127.0.0.1:6602","buffer_steps":10000,"hwm":100000,"max_queue_size":100000,"topic":"kv@127.0.0.1:8102@tiny-qwen3"}}'
)
DIALS_IN = (
    '{"0":{"enable_kv_cache_events":true,"publisher":"zmq","endpoint":"tcp://127.0.0.1:5699","replay_endpoint":'
    '"tcp://127.0.0.1:6622","buffer_steps":10000,"hwm":100000,"max_queue_size":100000,"topic":"kv@127.0.0.1:8122@tiny-qwen3"}}'
)


def one(address: Address = GPU_1, **told: Any) -> EventSource | None:
    found = sources_in(json.dumps({"0": told}).encode(), W, address)
    assert found is not None
    return found[0] if found else None


def test_what_a_real_worker_says_is_understood() -> None:
    assert sources_in(RECORDED.encode(), W, LOCAL) == [
        EventSource(W, 0, "tcp://127.0.0.1:5602", bind=False, replay="tcp://127.0.0.1:6602")
    ]


def test_a_real_worker_may_dial_in() -> None:
    topic = b"kv@127.0.0.1:8122@tiny-qwen3"
    assert sources_in(DIALS_IN.encode(), W, LOCAL) == [
        EventSource(W, 0, "tcp://*:5699", bind=True, replay="tcp://127.0.0.1:6622", topic=topic)
    ]


def test_each_rank_is_a_source_with_a_cache_of_its_own() -> None:
    listing = {str(rank): {"endpoint": f"tcp://*:{5600 + rank}"} for rank in (1, 0)}
    found = sources_in(json.dumps(listing).encode(), W, GPU_1)
    assert found is not None
    assert [source.endpoint for source in found] == ["tcp://gpu-1:5600", "tcp://gpu-1:5601"]
    assert [source.holder for source in found] == [W, f"{W}#1"]


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "[::]"])
def test_wildcards_stand_for_the_workers_host(host: str) -> None:
    source = one(endpoint=f"tcp://{host}:5557", replay_endpoint=f"tcp://{host}:5558")
    assert source is not None
    assert (source.endpoint, source.replay) == ("tcp://gpu-1:5557", "tcp://gpu-1:5558")
    assert not source.bind


def test_ipv6_hosts_are_put_in_brackets() -> None:
    source = one(Address("fd00::1", 8000, tls=False, prefix=b""), endpoint="tcp://*:5557")
    assert source is not None
    assert source.endpoint == "tcp://[fd00::1]:5557"


def test_an_address_of_its_own_was_bound_by_the_worker() -> None:
    """vLLM resolves `tcp://*:0` to its address and the port it got."""
    own = Address("10.0.0.7", 8000, tls=False, prefix=b"")
    source = one(own, endpoint="tcp://10.0.0.7:40123")
    assert source is not None
    assert (source.endpoint, source.bind) == ("tcp://10.0.0.7:40123", False)


def test_any_other_address_is_dialled_by_the_worker() -> None:
    source = one(endpoint="tcp://router:5557", topic="kv@gpu-1")
    assert source is not None
    assert (source.endpoint, source.bind, source.topic) == ("tcp://*:5557", True, b"kv@gpu-1")


def test_a_replay_that_only_the_workers_host_can_reach_is_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = one(endpoint="tcp://*:5557", replay_endpoint="tcp://127.0.0.1:5558")
    assert source is not None
    assert source.replay is None
    assert "tcp://*:5558" in caplog.text


@pytest.mark.parametrize(
    "told",
    [
        {"endpoint": "tcp://*:5557", "enable_kv_cache_events": False},
        {"endpoint": "tcp://*:5557", "publisher": "null"},
        {"endpoint": "inproc://cache"},
        {"endpoint": "ipc:///tmp/events"},
        {"endpoint": None},
        {},
    ],
    ids=str,
)
def test_what_cannot_be_followed_is_no_source(told: dict[str, Any]) -> None:
    assert one(**told) is None


def test_a_worker_without_events_has_no_sources() -> None:
    assert sources_in(b"{}", W, GPU_1) == []


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a":{}}', b'{"0":1}', b"\xff"])
def test_an_odd_answer_is_none(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert sources_in(body, W, GPU_1) is None
    assert W in caplog.text


# -- configured ----------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ["tcp://*:5557", "tcp://{host}:5557"])
def test_the_workers_host_is_put_in(endpoint: str) -> None:
    for address in (GPU_1, LOCAL):
        [source] = ConfiguredSources(endpoint, replay="tcp://{host}:5567").of(W, address)
        assert source.endpoint == f"tcp://{address.host}:5557"
        assert (source.replay, source.bind) == (f"tcp://{address.host}:5567", False)


def test_ranks_use_the_ports_that_follow() -> None:
    found = ConfiguredSources("tcp://*:5557", replay="tcp://*:5567", ranks=2).of(W, GPU_1)
    assert [(source.rank, source.endpoint, source.replay) for source in found] == [
        (0, "tcp://gpu-1:5557", "tcp://gpu-1:5567"),
        (1, "tcp://gpu-1:5558", "tcp://gpu-1:5568"),
    ]


def test_workers_that_dial_in_are_told_apart_by_their_topics() -> None:
    configured = ConfiguredSources("tcp://router:5557", topic="kv@{host}:{port}")
    [source] = configured.of(W, GPU_1)
    assert (source.endpoint, source.bind, source.topic) == (
        "tcp://*:5557",
        True,
        b"kv@gpu-1:8000",
    )
