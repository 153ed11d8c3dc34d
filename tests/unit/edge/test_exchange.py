"""What both server adapters share: routes, ids, the telling of errors."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import errors
from router.edge.exchange import EdgeServices, Exchange, RequestIds, Route, Routes
from router.errors import RouterError
from router.ids import Headers
from router.prompt.endpoints import PATHS, EndpointTable
from router.prompt.request import Incoming
from router.proxy.downstream import Downstream, Source
from tests.unit.support import Event, FakeConnection

ROUTES = Routes(EndpointTable(["/v2/*"]))


class TestRoutes:
    @pytest.mark.parametrize(
        ("url", "path", "target"),
        [
            (b"/v1/completions", b"/v1/completions", b"/v1/completions"),
            (b"/v1/completions?a=b&c", b"/v1/completions", b"/v1/completions?a=b&c"),
            (b"/v1/completions?", b"/v1/completions", b"/v1/completions?"),
            (b"//v1//completions/?x=//", b"/v1/completions", b"/v1/completions?x=//"),
            (b"/v1/completions?x=a?b", b"/v1/completions", b"/v1/completions?x=a?b"),
            (b"/v1/responses/resp_1?s=1", b"/v1/responses/resp_1", b"/v1/responses/resp_1?s=1"),
            (b"/v2/anything", b"/v2/anything", b"/v2/anything"),
        ],
    )
    def test_path_and_target(self, url: bytes, path: bytes, target: bytes) -> None:
        route = ROUTES.find(url)
        assert route is not None
        assert (route.path, route.target) == (path, target)

    @pytest.mark.parametrize("path", PATHS)
    def test_every_endpoint_has_its_route(self, path: str) -> None:
        for url in (path, path + "/", path + "?x=1", "/" + path):
            route = ROUTES.find(url.encode())
            assert route is not None
            assert route.endpoint is PATHS[path]

    @pytest.mark.parametrize(
        "url",
        [b"", b"/", b"/health", b"/?x=/v1/completions", b"/v1/%63ompletions", b"/v1/models", b"*"],
    )
    def test_the_rest_is_not_the_gateway_s(self, url: bytes) -> None:
        assert ROUTES.find(url) is None

    @given(st.binary(max_size=40))
    def test_any_bytes_are_looked_for(self, url: bytes) -> None:
        route = ROUTES.find(url)
        assert route is None or route.target.startswith(route.path)


class TestRequestIds:
    def test_they_are_32_hexadecimal_digits_and_all_different(self) -> None:
        ids = RequestIds()
        made = [ids.new() for _ in range(2000)]
        assert len(set(made)) == 2000
        assert all(len(each) == 32 and int(each, 16) >= 0 for each in made)

    def test_two_makers_share_nothing(self) -> None:
        assert RequestIds().new() != RequestIds().new()


class FakeGateway:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.begun: list[tuple[Incoming, bytes]] = []
        self.refused: list[tuple[Incoming, bytes, str]] = []
        self.cancelled: list[object] = []

    def begin(self, incoming: Incoming, request_id: bytes, client: Downstream) -> object:
        self.begun.append((incoming, request_id))
        return self

    def refuse(
        self, incoming: Incoming, request_id: bytes, client: Downstream, error: RouterError
    ) -> None:
        self.refused.append((incoming, request_id, error.code))

    def cancel(self, journey: object) -> None:
        self.cancelled.append(journey)


class Wire(Exchange):
    """An exchange whose wire is a transcript."""

    def __init__(self, gateway: Any, url: bytes = b"/v1/completions?x=1") -> None:
        route = ROUTES.find(url)
        assert isinstance(route, Route)
        super().__init__(EdgeServices(gateway, ROUTES, RequestIds(), 1000, 75.0), route)
        self.events: list[Event] = []

    def inform(self, status: int, headers: Headers) -> None:
        self.events.append(("inform", status, headers))

    def flush(self) -> None:
        self.events.append(("flush",))

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        self.started = True
        self.events.append(("start", status, headers, length))

    def write(self, data: bytes) -> None:
        self.events.append(("write", data))

    def finish(self, trailers: Headers) -> None:
        self.events.append(("finish",))

    def abort(self) -> None:
        self.events.append(("abort",))

    @property
    def names(self) -> list[str]:
        return [event[0] for event in self.events]


class TestExchange:
    def test_a_whole_request_is_handed_on(self) -> None:
        gateway = FakeGateway()
        Wire(gateway).serve(b"POST", [(b"x-request-id", b"r1")], b"body")
        ((incoming, request_id),) = gateway.begun
        assert (incoming.method, incoming.path, incoming.target, incoming.body) == (
            b"POST",
            b"/v1/completions",
            b"/v1/completions?x=1",
            b"body",
        )
        assert incoming.endpoint is PATHS["/v1/completions"]
        assert request_id == b"r1"

    @pytest.mark.parametrize("headers", [[], [(b"x-request-id", b"")]])
    def test_a_request_without_an_id_gets_one(self, headers: Headers) -> None:
        gateway = FakeGateway()
        Wire(gateway).serve(b"POST", headers, b"")
        ((_, request_id),) = gateway.begun
        assert len(request_id) == 32

    def test_a_body_over_the_limit_is_refused(self) -> None:
        gateway = FakeGateway()
        Wire(gateway).refuse(b"POST", [(b"x-request-id", b"r1")])
        ((_, request_id, code),) = gateway.refused
        assert (request_id, code) == (b"r1", "request_too_large")

    def test_leaving_cancels_what_has_begun(self) -> None:
        gateway = FakeGateway()
        wire = Wire(gateway)
        wire.cancel()
        assert gateway.cancelled == []
        wire.serve(b"POST", [], b"")
        wire.cancel()
        assert gateway.cancelled == [gateway]

    def test_the_source_can_be_changed(self) -> None:
        wire, connection, seen = Wire(FakeGateway()), FakeConnection(), list[Source | None]()
        for source in (connection, None):
            seen.append(wire.source)
            wire.feed_from(source)
        assert seen == [None, connection]


class TestFailing:
    LOST = errors.worker_lost("w", "early")

    @pytest.mark.parametrize("in_band", [False, True])
    def test_before_the_answer_it_is_the_answer(self, in_band: bool) -> None:
        wire = Wire(FakeGateway())
        wire.serve(b"POST", [(b"x-request-id", b"r1")], b"")
        wire.fail(self.LOST, in_band=in_band)
        assert wire.names == ["start", "write", "finish"]
        _, status, headers, length = wire.events[0]
        assert (status, length) == (502, len(wire.events[1][1]))
        assert (b"x-request-id", b"r1") in headers
        assert b"worker_connection_lost" in wire.events[1][1]

    @pytest.mark.parametrize(
        ("url", "marks"),
        [
            (b"/v1/completions", b"data: "),
            (b"/v1/messages", b"event: error\ndata: "),
            (b"/v1/responses", b"event: error\ndata: "),
        ],
    )
    def test_in_a_stream_it_is_an_event(self, url: bytes, marks: bytes) -> None:
        wire = Wire(FakeGateway(), url)
        wire.start(200, [], None)
        wire.fail(self.LOST, in_band=True)
        assert wire.names == ["start", "write", "finish"]
        assert wire.events[1][1].startswith(b"\n\n" + marks)

    def test_elsewhere_the_answer_is_cut_off(self) -> None:
        wire = Wire(FakeGateway())
        wire.start(200, [], 100)
        wire.fail(self.LOST, in_band=False)
        assert wire.names == ["start", "abort"]
