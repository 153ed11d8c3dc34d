"""What a managed service is sent of a request."""

import json

import pytest

from router.fleet.target import Service
from router.ids import Headers
from router.proxy.service import for_service

SERVICE = Service({"m": "vendor.m-v1:0", "same": "same"}, "secret")
HEADERS: Headers = [
    (b"authorization", b"Bearer the-client-s"),
    (b"x-api-key", b"the-client-s"),
    (b"cookie", b"a=b"),
    (b"x-tenant-id", b"acme"),
    (b"accept", b"text/event-stream"),
    (b"content-type", b"application/json"),
    (b"accept-encoding", b"gzip"),
    (b"traceparent", b"00-1-2-01"),
]


def test_only_what_it_knows_is_sent_and_its_own_key() -> None:
    headers, _ = for_service(SERVICE, HEADERS, b"{}", "m")
    assert headers == [
        (b"accept", b"text/event-stream"),
        (b"content-type", b"application/json"),
        (b"traceparent", b"00-1-2-01"),
        (b"authorization", b"Bearer secret"),
    ]


def test_without_a_key_none_is_shown() -> None:
    headers, _ = for_service(Service({"m": "m"}), HEADERS, b"{}", "m")
    assert b"authorization" not in dict(headers)


def test_the_model_has_its_name_there_and_all_else_stays_as_it_was() -> None:
    body = b'{"messages": [ {"role":"user","content":"\\u00e9 "} ],"model":"m","n": 1.50}'
    _, sent = for_service(SERVICE, [], body, "m")
    assert json.loads(sent) == json.loads(body) | {"model": "vendor.m-v1:0"}
    assert b'[ {"role":"user","content":"\\u00e9 "} ]' in sent
    assert b"1.50" in sent


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model": "same"}', "same"),
        (b"no json", "m"),
        (b"\xff", "m"),
        (b"[1]", "m"),
        (b"{}", None),
    ],
)
def test_the_body_stays_as_it_is(body: bytes, model: str | None) -> None:
    assert for_service(SERVICE, [], body, model)[1] is body
