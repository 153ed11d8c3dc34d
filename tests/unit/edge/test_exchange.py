"""What both server adapters share: routes, ids, the telling of errors."""

import gzip
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import errors
from router.edge.cors import Cors
from router.edge.exchange import Exchange, RequestIds, Route, Routes
from router.edge.limits import BodyMemory
from router.errors import RouterError
from router.ids import Headers
from router.prompt.endpoints import PATHS, EndpointTable
from router.prompt.request import Incoming
from router.proxy.downstream import Downstream, Source
from tests.unit.edge.support import edge_services
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

    @pytest.mark.parametrize("path", [*PATHS, "/v1/responses/resp_1"])
    def test_a_listener_without_inference_has_none(self, path: str) -> None:
        assert Routes(None).find(path.encode()) is None

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

    def __init__(self, gateway: Any, url: bytes = b"/v1/completions?x=1", **more: Any) -> None:
        route = ROUTES.find(url)
        assert isinstance(route, Route)
        super().__init__(edge_services(gateway, ROUTES, **more), route)
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

    def take_back(self) -> bool:
        return False

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

    def test_a_request_that_is_not_read_to_its_end_is_refused(self) -> None:
        gateway = FakeGateway()
        Wire(gateway).refuse(b"POST", [(b"x-request-id", b"r1")], errors.body_too_large(9))
        ((_, request_id, code),) = gateway.refused
        assert (request_id, code) == (b"r1", "request_too_large")

    @pytest.mark.parametrize(
        ("headers", "code"),
        [
            ([(b"host", b"a"), (b"host", b"b")], "invalid_http_request"),
            ([(b"host", b"a b")], "invalid_http_request"),
            ([(b"transfer-encoding", b"gzip, chunked")], "unsupported_transfer_coding"),
            ([(b"content-encoding", b"compress")], "unsupported_content_encoding"),
            ([(b"content-encoding", b"gzip")], "invalid_content_encoding"),
        ],
    )
    def test_what_can_be_read_in_two_ways_is_not_handed_on(
        self, headers: Headers, code: str
    ) -> None:
        gateway = FakeGateway()
        Wire(gateway).serve(b"POST", headers, b"x")
        assert gateway.begun == []
        assert [each[2] for each in gateway.refused] == [code]

    def test_a_compressed_body_is_handed_on_as_it_was_before(self) -> None:
        gateway = FakeGateway()
        packed = gzip.compress(b"x" * 900)
        wire = Wire(gateway)
        wire.hold(len(packed))
        wire.serve(b"POST", [(b"a", b"b"), (b"content-encoding", b"gzip")], packed)
        ((incoming, _),) = gateway.begun
        assert (incoming.body, incoming.headers) == (b"x" * 900, [(b"a", b"b")])
        assert b"content-encoding" not in incoming.by_name
        assert wire._bodies.held == 900

    def test_a_preflight_is_answered_here(self) -> None:
        gateway = FakeGateway()
        wire = Wire(gateway, cors=Cors(["https://a"]))
        asked = [(b"origin", b"https://a"), (b"access-control-request-method", b"POST")]
        wire.serve(b"OPTIONS", asked, b"")
        assert wire.names == ["start", "finish"]
        assert wire.events[0][1] == 204
        assert gateway.begun == []

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


class TestMemory:
    """Of all bodies together."""

    def test_it_is_let_go_of_once(self) -> None:
        bodies = BodyMemory(100)
        one, other = (Wire(FakeGateway(), bodies=bodies) for _ in range(2))
        one.hold(60)
        other.hold(40)
        one.release()
        one.release()
        assert bodies.held == 40

    def test_what_is_too_much_counts_until_the_end(self) -> None:
        bodies = BodyMemory(100)
        wire = Wire(FakeGateway(), bodies=bodies)
        with pytest.raises(RouterError) as caught:
            wire.hold(101)
        assert (caught.value.status, caught.value.retry_after_s) == (503, 1)
        wire.release()
        assert bodies.held == 0

    def test_an_announced_length(self) -> None:
        bodies = BodyMemory(2000)
        bodies.held = 1500
        wire = Wire(FakeGateway(), bodies=bodies)
        wire.hold(400)
        wire.check_length(500)
        with pytest.raises(RouterError, match="body_memory_limit"):
            wire.check_length(501)
        with pytest.raises(RouterError, match="body_limit"):
            wire.check_length(1001)


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
