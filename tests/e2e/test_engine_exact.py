"""With KV events and token keys a router knows to the token what real workers will find in their caches."""

import itertools
import json
import random
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.e2e.corpus import WEATHER
from tests.e2e.engines import ADAPTERS, BLOCK, MODEL, event_specs, lora_args
from tests.e2e.harness import Router, ask, router_process, wait_until
from tests.e2e.prose import prose

pytestmark = pytest.mark.engine

REQUESTS = 500
POOL_BLOCKS = 60

Asked = tuple[str, str, dict[str, Any]]
"""A kind of request, its path and what of its body makes the kind."""


class Requests:
    """Requests of all kinds that share beginnings, together more than a pool holds."""

    def __init__(self, seed: int, *, adapters: bool) -> None:
        self._rng = rng = random.Random(seed)
        self._systems = [prose(rng, words) for words in (60, 150, 250)]
        self._documents = [prose(rng, words) for words in (100, 300, 400)]
        self._ids = [[rng.randrange(300, 4000) for _ in range(900)] for _ in range(3)]
        self._talks: dict[int, list[dict[str, str]]] = {}
        self._kinds = ["chat", "tools", "turn", "turn", "text", "ids", "whole", "again", "salt"]
        self._adapters = ADAPTERS if adapters else ()

    def __iter__(self) -> Iterator[Asked]:
        kind, path, body = self._new("chat")
        while True:
            wanted = self._rng.choice(self._kinds)
            if wanted == "again":  # computed anew if it ends with a block, and then held twice
                yield "again", path, body
                continue
            kind, path, body = self._new(wanted)
            if self._adapters and self._rng.random() < 0.25:
                kind, body = "adapter", body | {"model": self._rng.choice(self._adapters)}
            yield kind, path, body

    def _new(self, kind: str) -> Asked:
        rng = self._rng
        if kind in ("chat", "tools"):
            question = {"role": "user", "content": prose(rng, rng.randrange(3, 60))}
            messages = [{"role": "system", "content": rng.choice(self._systems)}, question]
            tools = {"tools": [WEATHER]} if kind == "tools" else {}
            return kind, "/v1/chat/completions", {"messages": messages} | tools
        if kind == "turn":
            return kind, "/v1/chat/completions", {"messages": self._turn(rng.randrange(3))}
        if kind == "ids":
            return (
                kind,
                "/v1/completions",
                {"prompt": rng.choice(self._ids)[: rng.randrange(40, 900)]},
            )
        if kind == "whole":
            return (
                kind,
                "/v1/completions",
                {"prompt": rng.choice(self._ids)[: BLOCK * rng.randrange(1, 25)]},
            )
        document = rng.choice(self._documents)
        text = document[: rng.randrange(60, len(document))] + prose(rng, rng.randrange(1, 10))
        salt = {"cache_salt": rng.choice("ab")} if kind == "salt" else {}
        return kind, "/v1/completions", {"prompt": text} | salt

    def _turn(self, number: int) -> list[dict[str, str]]:
        talk = self._talks.get(number, [])
        if not talk or len(json.dumps(talk)) > 2200:
            talk = self._talks[number] = [{"role": "system", "content": self._systems[number]}]
        talk.append({"role": "user", "content": prose(self._rng, self._rng.randrange(3, 30))})
        said = [*talk]
        talk.append({"role": "assistant", "content": "That is fine."})
        return said


@dataclass(slots=True)
class Client:
    """Asks one worker through the router and notes what usage says of each request."""

    router: Router
    worker: str
    seen: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)

    def ask(self, kind: str, path: str, body: dict[str, Any]) -> None:
        request_id = uuid.uuid4().hex
        streams = len(self.seen) % 3 == 0
        options = {"stream": True, "stream_options": {"include_usage": True}} if streams else {}
        whole = {"model": MODEL, "max_tokens": 4, "temperature": 0} | body | options
        headers = {"x-request-id": request_id} | (
            {"x-router-worker": self.worker} if self.worker else {}
        )
        answer = ask(self.router.url, path, whole, headers)
        assert answer.status == 200, answer.body
        self.seen[request_id] = kind, answer.usage

    def compare(self) -> list[tuple[str, str, int, int, int]]:
        """Of each request in order: kind, worker, prompt tokens, cached ones predicted and found."""
        lines: dict[str, dict[str, Any]] = {}

        def all_logged() -> bool:
            lines.update((line["request_id"], line) for line in self.router.requests())
            return self.seen.keys() <= lines.keys()

        wait_until(all_logged, 10, "the log lines of all requests")
        return [
            (
                kind,
                lines[request_id]["worker"],
                usage["prompt_tokens"],
                lines[request_id]["predicted_cached_tokens"],
                usage["prompt_tokens_details"]["cached_tokens"],
            )
            for request_id, (kind, usage) in self.seen.items()
        ]


@pytest.fixture(scope="module")
def fleet(
    engine: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Router, list[Any], Callable[[], Any]]]:
    """A router before a worker with adapters and one with two data-parallel ranks; what starts the first one anew."""
    lora = [*lora_args(engine)]
    (one,) = event_specs(engine, blocks=POOL_BLOCKS, extra=lora)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_SERVER_DEV_MODE", "1")
        with engine.running([one]) as workers:
            (two,) = event_specs(engine, blocks=POOL_BLOCKS, ranks=2)
            with engine.running([two]) as others:
                both = [*workers, *others]
                started = []

                def again() -> Any:
                    workers[0].kill()
                    started.append(engine.start(one))
                    engine.wait_healthy(started[-1:])

                folder = tmp_path_factory.mktemp("exact")
                with router_process([worker.url for worker in both], folder) as router:
                    wait_until(lambda: len(router.workers()["workers"]) == 3, 30, "both ranks")
                    yield router, both, again
                engine.stop(started)


def settle(router: Router, worker: str) -> None:
    """Have it publish something, and wait until the router goes by that."""
    client, numbers = Client(router, worker), itertools.count(500)

    def known() -> bool:
        client.ask("first", "/v1/completions", {"prompt": [next(numbers)] * 2 * BLOCK})
        return any(
            each["id"] == worker and each["known_by"] == "events"
            for each in router.workers()["workers"]
        )

    wait_until(known, 15, f"events of {worker}")


def summary(rows: list[tuple[str, str, int, int, int]]) -> str:
    exact = sum(predicted == found for *_, predicted, found in rows)
    hits = sum(found > 0 for *_, found in rows)
    kinds = sorted({kind for kind, *_ in rows})
    return f"{exact} of {len(rows)} predictions exact ({hits} with hits; {', '.join(kinds)})"


@pytest.mark.timeout(400, func_only=True)
def test_predictions_are_exact(
    fleet: tuple[Router, list[Any], Callable[[], Any]], report: Callable[[str], None]
) -> None:
    """500 requests to each of both workers: all kinds, evictions all the time, a reset half-way."""
    router, (one, two), _ = fleet
    targets = [(one.id, True), (two.id, False), (f"{two.id}#1", False)]
    for worker, _ in targets:
        settle(router, worker)
    clients = [Client(router, worker) for worker, _ in targets]

    def play(client: Client, count: int, *, adapters: bool) -> None:
        asked = iter(Requests(hash(client.worker) % 1000, adapters=adapters))
        for number, each in enumerate(itertools.islice(asked, count)):
            client.ask(*each)
            if number == count // 2:
                url = f"http://{client.worker.partition('#')[0]}"
                ask(url, "/reset_prefix_cache")

    counts = (REQUESTS, REQUESTS // 2, REQUESTS // 2)
    with ThreadPoolExecutor(len(clients)) as pool:
        jobs = [
            pool.submit(play, client, count, adapters=adapters)
            for client, count, (_, adapters) in zip(clients, counts, targets, strict=True)
        ]
        for job in jobs:
            job.result()
    first = clients[0].compare()
    second = [row for client in clients[1:] for row in client.compare()]
    for name, rows in (("one rank, adapters", first), ("two ranks", second)):
        report(f"events and tokens, {name}: {summary(rows)}")
        wrong = [row for row in rows if row[3] != row[4]]
        assert len(rows) == REQUESTS
        assert len(wrong) <= REQUESTS // 100, wrong
    metrics = ask(router.url, "/metrics", method="GET").body.decode()
    assert 'router_kv_events_total{kind="cleared"' in metrics


@pytest.mark.timeout(300, func_only=True)
def test_a_worker_that_is_restarted_behind_our_back(
    fleet: tuple[Router, list[Any], Callable[[], Any]],
    report: Callable[[str], None],
    tmp_path: Path,
) -> None:
    """As soon as it answers again nothing is expected of its cache: by its events, and by what it says of its start."""
    router, (one, two), again = fleet
    settle(router, one.id)
    asked = list(itertools.islice(iter(Requests(7, adapters=False)), 40))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFIX_ROUTER_KV_EVENTS", "off")
        with router_process([one.url, two.url], tmp_path) as deaf:
            routers = {"with events": router, "without": deaf}
            for each in routers.values():
                before = Client(each, one.id)
                for request in asked[:20]:
                    before.ask(*request)
            again()
            for name, each in routers.items():
                lost = lost_after(each, one.id, asked)
                report(f"restart, {name}: {lost} of {len(asked)} answers found less than expected")
                assert lost <= 3


def lost_after(router: Router, worker: str, asked: list[Asked]) -> int:
    """How many answers found less than was expected, from when it is up again."""

    def up() -> bool:
        return any(each["id"] == worker and each["up"] for each in router.workers()["workers"])

    wait_until(up, 30, "the worker is up again")
    client = Client(router, worker)
    for request in asked:
        client.ask(*request)
    return sum(predicted > found + BLOCK for *_, predicted, found in client.compare())


def test_a_wrong_chat_template_is_named(
    fleet: tuple[Router, list[Any], Callable[[], Any]], tmp_path: Path
) -> None:
    """In words: in the log, beside the workers, in a metric; and its prompts go by their text."""
    _, (one, _), _ = fleet
    template = tmp_path / "other.jinja"
    template.write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFIX_ROUTER_CHAT_TEMPLATES", f"{MODEL}={template}")
        with router_process([one.url], tmp_path) as router:
            settle(router, one.id)
            client = Client(router, one.id)
            for number in range(4):
                message = {"role": "user", "content": f"question {number}"}
                client.ask("chat", "/v1/chat/completions", {"messages": [message]})
            (worker,) = router.workers()["workers"]
            metrics = ask(router.url, "/metrics", method="GET").body.decode()
            log = router.err.read_text()
    (mismatch,) = worker["mismatches"]
    assert mismatch.startswith(f"the chat template used for model {MODEL} gives ")
    assert mismatch in log
    assert f'router_token_mismatch{{model="{MODEL}"}} 1.0' in metrics
    assert 'router_prompts_identified_total{by="tokens"}' in metrics
