"""Seven synthetic workloads: the shapes of traffic that tell routing policies apart (pure).

A seed always gives the same workload. Rates are those at speed 1 and arrivals are Poisson. Lengths are in
tokens, times in seconds; a number given without a spread is a constant. Blocks are of 64 tokens and every full
block has an id, those of answers included: engines keep them. No prompt is longer than `MAX_PROMPT_TOKENS`.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, count, takewhile
from random import Random
from typing import Protocol

from router.simulate.text import Text
from router.simulate.workload import Call, Session, Step, Workload

BLOCK_TOKENS = 64
MAX_PROMPT_TOKENS = 100_000
_LONGEST_PART = 90_000
"""The longest length that is drawn: with what comes before it, a prompt stays within the maximum."""
_RECENT_CONTEXTS = 100


class Generator(Protocol):
    """Makes a workload of about `requests` calls."""

    def __call__(self, seed: int, requests: int = ...) -> Workload: ...


def chat(seed: int, requests: int = 24_000) -> Workload:
    """Conversations that resend everything said so far: 4 workers, 32 sessions/s, closed loop.

    1024 tokens of system prompt shared by all, a first context of the session's own (lognormal, median 600,
    sigma 1), then questions of 80 and answers of 250. Turns are geometric with mean 5, pauses exponential with
    mean 20 s.
    """
    rng = _rng(seed)
    system = Text(BLOCK_TOKENS).grow(1024)

    def steps() -> Iterator[Step]:
        text = system.fork().grow(_lognormal(rng, 600, 1.0))
        for turn in range(_geometric(rng, 5)):
            if text.grow(80).tokens > MAX_PROMPT_TOKENS:
                return
            yield Step((text.ask(250),), rng.expovariate(1 / 20) if turn else 0.0)

    return _closed_loop("chat", 4, _poisson(rng, 32.0), steps, requests)


def agent(seed: int, requests: int = 8000) -> Workload:
    """Agents that call tools, long prompts that grow by little: 4 workers, 1 session/s, closed loop.

    One of 3 tool prompts of 6000, then a task; steps are geometric with mean 20, pauses exponential with mean
    1 s. After each answer (100 to 200, uniform) the result of a tool is appended; results and the task are
    lognormal with median 700, sigma 1. One step in ten fans out to 4 calls: each adds 100 tokens of its own to
    the common context, all four answers are appended to it as new text, and the session goes on when all are
    there.
    """
    rng = _rng(seed)
    blank = Text(BLOCK_TOKENS)
    tools = [blank.fork().grow(6000) for _ in range(3)]

    def calls(text: Text) -> tuple[Call, ...]:
        if rng.random() >= 0.1:
            return (text.ask(rng.randint(100, 200)),)
        branches = tuple(text.fork().grow(100).ask(rng.randint(100, 200)) for _ in range(4))
        text.grow(sum(call.output_tokens for call in branches))
        return branches

    def steps() -> Iterator[Step]:
        text = rng.choice(tools).fork()
        for number in range(_geometric(rng, 20)):
            if text.grow(_lognormal(rng, 700, 1.0)).tokens + 100 > MAX_PROMPT_TOKENS:
                return
            yield Step(calls(text), rng.expovariate(1.0) if number else 0.0)

    return _closed_loop("agent", 4, _poisson(rng, 1.0), steps, requests)


def rag(seed: int, requests: int = 12_000) -> Workload:
    """Questions about documents: 8 workers, 10/s, open loop.

    256 tokens of system prompt, one of 2000 documents (popularity Zipf 1.0; lognormal, median 6000, sigma
    0.6), a question of 60 and an answer of 150.
    """
    rng = _rng(seed)
    system = Text(BLOCK_TOKENS).grow(256)
    documents = [system.fork().grow(_lognormal(rng, 6000, 0.6)) for _ in range(2000)]
    popularity = list(accumulate(1 / rank for rank in range(1, len(documents) + 1)))
    asked = rng.choices(documents, cum_weights=popularity, k=requests)
    calls = (document.fork().grow(60).ask(150) for document in asked)
    return _open_loop("rag", 8, _poisson(rng, 10.0), calls)


def viral(seed: int, requests: int = 20_000) -> Workload:
    """One prefix takes over: 8 workers, 10/s, open loop.

    A prefix of 12,000 whose share of the requests grows linearly from 0 to 60 % over the run. The others ask
    about contexts (`_contexts`) of 2000 to 4000, uniform, that are seen 4 times on average. A question of 60
    and an answer of 150.
    """
    rng = _rng(seed)
    blank = Text(BLOCK_TOKENS)
    prefix = blank.fork().grow(12_000)
    contexts = _contexts(rng, blank, lambda: rng.randint(2000, 4000), times=4)

    def calls() -> Iterator[Call]:
        for number in range(requests):
            text = prefix if rng.random() < 0.6 * number / requests else next(contexts)
            yield text.fork().grow(60).ask(150)

    return _open_loop("viral", 8, _poisson(rng, 10.0), calls())


def none(seed: int, requests: int = 10_000) -> Workload:
    """Nothing to reuse: 8 workers, 10/s, open loop.

    Prompts are lognormal with median 2000, sigma 1, answers of 200.
    """
    rng = _rng(seed)
    blank = Text(BLOCK_TOKENS)
    calls = (blank.fork().grow(_lognormal(rng, 2000, 1.0)).ask(200) for _ in range(requests))
    return _open_loop("none", 8, _poisson(rng, 10.0), calls)


def tenants(seed: int, requests: int = 12_000) -> Workload:
    """Eight light tenants beside one that floods the fleet: 8 workers, 13.5/s on average, open loop.

    Answers are of 150. A light tenant sends 0.35/s: its system prompt of 2000 and 400 new tokens. The flooding one sends 4, 24 and
    again 4/s in the thirds of the run: its system prompt of 2000, a context (`_contexts`) of 2000 that is seen
    twice on average, and 1000 new tokens.
    """
    rng = _rng(seed)
    blank = Text(BLOCK_TOKENS)
    contexts = _contexts(rng, blank.fork().grow(2000), lambda: 2000, times=2)
    systems = {f"light-{number}": blank.fork().grow(2000) for number in range(8)}
    flood_rates = (4.0, 24.0, 4.0)
    third_s = requests / (3 * 8 * 0.35 + sum(flood_rates))
    arrivals = [(t, name) for name in systems for t in _poisson(rng, 0.35, until_s=3 * third_s)]
    for third, rate in enumerate(flood_rates):
        start_s = third * third_s
        times = _poisson(rng, rate, start_s=start_s, until_s=start_s + third_s)
        arrivals += [(t, "flood") for t in times]
    sessions = []
    for number, (start_s, tenant) in enumerate(sorted(arrivals)):
        flooding = tenant == "flood"
        text = next(contexts).fork().grow(1000) if flooding else systems[tenant].fork().grow(400)
        sessions.append(_single(f"tenants-{number}", tenant, start_s, text.ask(150)))
    return Workload("tenants", BLOCK_TOKENS, 8, sessions)


def decode(seed: int, requests: int = 8000) -> Workload:
    """Short prompts and long answers: 4 workers, 16/s, open loop.

    556 tokens in and 1200 out. All prompts begin with the same 192 tokens; one in three goes on with 64 more that are shared.
    """
    rng = _rng(seed)
    short = Text(BLOCK_TOKENS).grow(192)
    long = short.fork().grow(64)

    def calls() -> Iterator[Call]:
        for _ in range(requests):
            text = rng.choice((short, short, long)).fork()
            yield text.grow(556 - text.tokens).ask(1200)

    return _open_loop("decode", 4, _poisson(rng, 16.0), calls())


GENERATORS: dict[str, Generator] = {
    "chat": chat,
    "rag": rag,
    "agent": agent,
    "viral": viral,
    "none": none,
    "tenants": tenants,
    "decode": decode,
}


def _rng(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - traffic, not secrets


def _geometric(rng: Random, mean: float) -> int:
    """At least 1."""
    return 1 + int(math.log(1 - rng.random()) / math.log(1 - 1 / mean))


def _lognormal(rng: Random, median: float, sigma: float) -> int:
    return max(1, min(int(rng.lognormvariate(math.log(median), sigma)), _LONGEST_PART))


def _poisson(
    rng: Random, rate: float, *, start_s: float = 0.0, until_s: float = math.inf
) -> Iterator[float]:
    """Times of arrivals after `start_s` and before `until_s`."""
    gaps = (rng.expovariate(rate) for _ in count())
    times = accumulate(gaps, initial=start_s)
    next(times)
    return takewhile(lambda time: time < until_s, times)


def _contexts(
    rng: Random, before: Text, tokens: Callable[[], int], *, times: float
) -> Iterator[Text]:
    """Contexts behind `before`, each met `times` times on average, in random order but near each other.

    One time in `times` a new one appears; else one of the last 100 comes back, each as likely.
    """
    recent: deque[Text] = deque(maxlen=_RECENT_CONTEXTS)
    while True:
        if not recent or rng.random() < 1 / times:
            recent.append(before.fork().grow(tokens()))
            yield recent[-1]
        else:
            yield rng.choice(recent)


def _single(name: str, tenant: str, start_s: float, call: Call) -> Session:
    return Session(name, tenant, start_s, (Step((call,), 0.0),))


def _open_loop(name: str, workers: int, times: Iterator[float], calls: Iterable[Call]) -> Workload:
    """One session for each call."""
    sessions = [
        _single(f"{name}-{number}", "", start_s, call)
        for number, (call, start_s) in enumerate(zip(calls, times, strict=False))
    ]
    return Workload(name, BLOCK_TOKENS, workers, sessions)


def _closed_loop(
    name: str,
    workers: int,
    times: Iterator[float],
    steps: Callable[[], Iterable[Step]],
    requests: int,
) -> Workload:
    """Sessions until their calls are at least `requests`."""
    sessions: list[Session] = []
    made = 0
    for number, start_s in enumerate(times):
        if made >= requests:
            break
        session = Session(f"{name}-{number}", "", start_s, tuple(steps()))
        made += sum(len(step.calls) for step in session.steps)
        sessions.append(session)
    return Workload(name, BLOCK_TOKENS, workers, sessions)
