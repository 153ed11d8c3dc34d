"""Which paths are inference endpoints, and which are not."""

import pytest

from router.prompt.endpoints import (
    PATHS,
    EndpointTable,
    Family,
    canonical_path,
    stored_response_id,
)


@pytest.mark.parametrize("path", PATHS)
def test_every_path_of_the_table_resolves(path: str) -> None:
    assert EndpointTable().resolve(path.encode()) is PATHS[path]
    assert canonical_path(path.encode()) == path.encode()


@pytest.mark.parametrize(
    ("path", "name", "family"),
    [
        ("/v1/chat/completions", "chat_completions", Family.OPENAI),
        ("/v1/messages", "messages", Family.ANTHROPIC),
        ("/v1/messages/count_tokens", "count_tokens", Family.ANTHROPIC),
        ("/v1/responses", "responses", Family.RESPONSES),
        ("/v1/responses/resp_1", "responses_stored", Family.RESPONSES),
        ("/v1/responses/resp_1/cancel", "responses_stored", Family.RESPONSES),
    ],
)
def test_families(path: str, name: str, family: Family) -> None:
    endpoint = EndpointTable().resolve(path.encode())
    assert endpoint is not None
    assert (endpoint.name, endpoint.family) == (name, family)


def test_what_generates_is_told_apart_from_what_pools() -> None:
    generating = {path for path, endpoint in PATHS.items() if endpoint.generates}
    assert {"/v1/completions", "/v1/chat/completions", "/v1/messages", "/v1/responses"} < generating
    assert not generating & {"/v1/embeddings", "/score", "/tokenize", "/version"}


def test_what_works_is_told_apart_from_what_is_answered_beside() -> None:
    working = {path for path, endpoint in PATHS.items() if endpoint.works}
    assert {"/v1/completions", "/v1/embeddings", "/score", "/v1/audio/speech"} < working
    assert not working & {"/tokenize", "/version", "/v1/messages/count_tokens"}
    other = EndpointTable(["/v9/*"]).resolve(b"/v9/x")
    assert other is not None
    assert not other.works


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/health",
        "/metrics",
        "/sleep",
        "/reset_prefix_cache",
        "/v1/load_lora_adapter",
        "/v1/models",
        "/collective_rpc",
        "/v1/chat",
        "/v1/chat/completions/x",
        "/v1/responses/a/b",
        "/v1/responses/a/cancel/b",
        "/V1/completions",
        "/v1%2fcompletions",
        "/\xff",
    ],
)
def test_other_paths_are_not_reachable(path: str) -> None:
    assert EndpointTable().resolve(path.encode("latin-1")) is None


def test_further_paths_can_be_allowed() -> None:
    table = EndpointTable(["/v2/*", "/sleep"])
    for path in (b"/v2/x", b"/v2/a/b", b"/sleep"):
        endpoint = table.resolve(path)
        assert endpoint is not None
        assert endpoint.name == "other"
    for path in (b"/v2", b"/sleepy", b"/x/sleep", b"/wake_up"):
        assert table.resolve(path) is None


def test_the_table_wins_over_allowed_patterns() -> None:
    assert EndpointTable(["/*"]).resolve(b"/v1/completions") is PATHS["/v1/completions"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/v1/responses/resp_1", "resp_1"),
        (b"/v1/responses/resp_1/cancel", "resp_1"),
        (b"/v1/responses", None),
        (b"/v1/responses/", None),
        (b"/v1/responses/a/b", None),
    ],
)
def test_the_id_of_a_stored_response(path: bytes, found: str | None) -> None:
    assert stored_response_id(path) == found


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        (b"/", b"/"),
        (b"//", b"/"),
        (b"", b""),
        (b"/v1/completions", b"/v1/completions"),
        (b"/v1/completions/", b"/v1/completions"),
        (b"//v1///completions//", b"/v1/completions"),
        (b"/v1/%2F%2Fx", b"/v1/%2F%2Fx"),
    ],
)
def test_sloppy_slashes_are_put_right(path: bytes, canonical: bytes) -> None:
    assert canonical_path(path) == canonical
