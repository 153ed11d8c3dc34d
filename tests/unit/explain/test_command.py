"""`prefix-router explain`: what is asked, what is printed, and how it ends."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from router.client import NoAnswerError
from router.explain.command import explain
from router.explain.table import sentence
from tests.unit.explain.explanations import explanation


class FakeRouter:
    """Stands for a `RouterClient`."""

    def __init__(self) -> None:
        self.served = ["m"]
        self.urls: list[str] = []
        self.headers: dict[str, str] = {}
        self.asked: list[tuple[Any, str | None]] = []
        self.error: Exception | None = None

    def __call__(self, url: str, headers: dict[str, str]) -> "FakeRouter":
        if url == "bad":
            raise ValueError("'bad' is no URL")
        self.urls.append(url)
        self.headers = headers
        return self

    def models(self) -> list[str]:
        return self.served

    def explain(self, body: bytes, endpoint: str | None) -> dict[str, Any]:
        self.asked.append((body, endpoint))
        if self.error is not None:
            raise self.error
        return explanation()


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> FakeRouter:
    fake = FakeRouter()
    monkeypatch.setattr("router.client.RouterClient", fake)
    return fake


def run(*arguments: str, text: bytes | str | None = None, **environment: str) -> Result:
    return CliRunner().invoke(explain, arguments, input=text, env=environment)


class TestAsking:
    def test_a_prompt_is_a_chat(self, router: FakeRouter) -> None:
        result = run("Why é?")
        assert result.exit_code == 0, result.output
        body = '{"model":"m","messages":[{"role":"user","content":"Why é?"}]}'
        assert router.asked == [(body.encode(), None)]
        assert router.urls == ["http://127.0.0.1:8080"]

    @pytest.mark.parametrize(
        ("endpoint", "member", "content"),
        [
            ("/v1/chat/completions", "messages", [{"role": "user", "content": "q"}]),
            ("/v1/messages", "messages", [{"role": "user", "content": "q"}]),
            ("/v1/completions", "prompt", "q"),
            ("/v1/responses", "input", "q"),
            ("/v1/embeddings", "input", "q"),
        ],
    )
    def test_or_what_the_endpoint_takes(
        self, endpoint: str, member: str, content: Any, router: FakeRouter
    ) -> None:
        run("--endpoint", endpoint, "--model", "big", "q")
        ((body, named),) = router.asked
        assert json.loads(body) == {"model": "big", member: content}
        assert named == endpoint

    def test_from_standard_input(self, router: FakeRouter) -> None:
        run("-", text=b"a \xff prompt")
        assert json.loads(router.asked[0][0])["messages"][0]["content"] == "a \ufffd prompt"

    def test_a_whole_body(self, router: FakeRouter, tmp_path: Path) -> None:
        file = tmp_path / "body.json"
        file.write_bytes(b'{"any": 1}\n')
        run("--body", str(file), "--endpoint", "/v1/rerank")
        assert router.asked == [(b'{"any": 1}\n', "/v1/rerank")]
        run("--body", "-", text=b"{}")
        assert router.asked[1] == (b"{}", None)

    def test_who_is_asked_and_with_what(self, router: FakeRouter) -> None:
        run("--router", "http://r:1", "--header", "X-Session-Id: s:1", "--header", "a:b", "q")
        assert router.urls == ["http://r:1"]
        assert router.headers == {"X-Session-Id": "s:1", "a": "b"}

    def test_the_environment_says_who_and_shows_the_key(self, router: FakeRouter) -> None:
        run("q", PREFIX_ROUTER_URL="http://r:2", PREFIX_ROUTER_ADMIN_KEY="sesame")
        assert router.urls == ["http://r:2"]
        assert router.headers == {"authorization": "Bearer sesame"}

    def test_a_key_of_its_own(self, router: FakeRouter) -> None:
        run("--admin-key", "k", "q")
        assert router.headers == {"authorization": "Bearer k"}
        run("--admin-key", "k", "--header", "Authorization: Bearer x", "q")
        assert router.headers == {"Authorization": "Bearer x"}


class TestPrinting:
    def test_a_table(self, router: FakeRouter) -> None:
        lines = run("q").output.splitlines()
        assert lines[0] == sentence(explanation()), "a pipe gets whole lines"
        assert any("→ gpu-1:8000" in line for line in lines)
        assert all(line == line.rstrip() for line in lines)
        assert "\x1b" not in "".join(lines)

    def test_json(self, router: FakeRouter) -> None:
        assert json.loads(run("--json", "q").output) == explanation()


class TestMistakes:
    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["--body", "-", "q"],
            ["--body", "/nowhere/at/all", "--json"],
            ["--endpoint", "/v1/rerank", "q"],
            ["--router", "bad", "q"],
            ["--header", "nothing", "q"],
            ["--header", ":x", "q"],
            ["--header", "x: ü", "q"],
            ["--header", "x: a\nb: c", "q"],
            ["--no-such-flag"],
        ],
    )
    def test_end_it_with_2(self, arguments: list[str], router: FakeRouter) -> None:
        result = run(*arguments)
        assert result.exit_code == 2
        assert "Error: " in result.stderr
        assert router.asked == []

    def test_several_models_are_served(self, router: FakeRouter) -> None:
        router.served = ["m", "n"]
        result = run("q")
        assert result.exit_code == 2
        assert "Choose one of the models with --model: m, n." in result.stderr

    def test_none_is_served(self, router: FakeRouter) -> None:
        router.served = []
        result = run("q")
        assert result.exit_code == 1
        assert "No worker serves a model yet; `prefix-router workers` says why." in result.stderr

    def test_the_router_says_no(self, router: FakeRouter) -> None:
        router.error = NoAnswerError("The model `x` does not exist.")
        result = run("--model", "x", "q")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == "Error: The model `x` does not exist.\n"
