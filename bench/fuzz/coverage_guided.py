"""Coverage-guided fuzzing of what reads bytes from outside, with atheris (not among the dev dependencies).

usage: coverage_guided.py TARGET [SECONDS] [CORPUS]

Runs until SECONDS (60) are over or an input fails; that input is left in a file `crash-…`. CORPUS is a folder that
keeps the inputs that led somewhere new.
"""

import contextlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["router"]):
    from router.edge.decoding import decoder
    from router.engines.vllm import gauges_in, ranks_in
    from router.errors import RouterError
    from router.events.ledger import Ledger
    from router.events.subscriber import Subscriber
    from router.prompt.request import Request
    from router.prompt.session import SessionKeys
    from router.proxy.sse import announcements, failure_in, token_events, usage_in
    from router.proxy.transcript import DivergedError, Transcript
    from router.tokens.body import read
    from router.tokens.prompt import Inexact
    from router.tokens.remote import tokenize_body
    from router.upstream.connection import Connection

from tests.fuzz import test_bodies, test_transcript, test_upstream
from tests.fuzz.test_events import SEED as EVENTS
from tests.unit.events.support import Book
from tests.unit.support import FakeHandler, FakeOwner, FakeTransport, incoming

ENDINGS = ("complete", "lost")


def answers(data: bytes) -> None:
    """A worker's answer, cut where its first byte says."""
    cut, data = data[:1], data[1:]
    at = cut[0] if cut else 0
    owner, transport, handler = FakeOwner(), FakeTransport(), FakeHandler()
    connection = Connection(owner)
    connection.connection_made(transport)
    connection.send(b"", b"", handler, is_head=at % 7 == 0)
    for piece in (data[:at], data[at:]):
        if piece and not transport.is_closing():
            connection.data_received(piece)
    transport.close()
    connection.connection_lost(None)
    assert sum(each[0] in ENDINGS for each in handler.told()) == 1


def bodies(data: bytes) -> None:
    """A request's body."""
    for path in test_bodies.PATHS[:3]:
        request = Request(incoming(data, path=path))
        _ = (request.separators, request.audits, request.previous_response_id)
        SessionKeys().key(request)
        with contextlib.suppress(Inexact):
            prompt = read(request)
            if hasattr(prompt, "model"):
                tokenize_body(prompt)


def events(data: bytes) -> None:
    """Two batches of KV events."""
    book = Book()
    subscriber = Subscriber(book.ledger, book.counters, lambda _: None)
    subscriber.attach(None)
    half = len(data) // 2
    for number, payload in enumerate((data, data[:half], data[half:])):
        subscriber.offer(number, payload)
    while subscriber.step():
        pass
    subscriber.leave()
    while subscriber.step():
        pass
    assert not book.held
    assert isinstance(book.ledger, Ledger)


def streams(data: bytes) -> None:
    """Events of a stream."""
    token_events(data)
    announcements(data)
    usage_in(data)
    failure_in(data)
    transcript = Transcript(shows_ids=False)
    with contextlib.suppress(DivergedError, ValueError, OverflowError):
        half = len(data) // 2
        transcript.take(transcript.whole(data[:half]))
        transcript.go_on()
        transcript.take(transcript.whole(data[half:]))
        transcript.ending("m", usage=True)


def pages(data: bytes) -> None:
    """A page of metrics."""
    gauges_in(data)
    ranks_in(data)


def codings(data: bytes) -> None:
    """A compressed body."""
    for coding in (b"gzip", b"deflate", b"zstd", b"br"):
        with contextlib.suppress(RouterError):
            made = decoder([(b"content-encoding", coding)], 100_000)
            assert made is not None
            assert sum(map(len, made.feed(data))) <= 100_000
            made.finish()


TARGETS: dict[str, tuple[Callable[[bytes], None], Sequence[bytes]]] = {
    "answers": (answers, [b"\x20" + seed for seed in test_upstream.SEEDS]),
    "bodies": (bodies, test_bodies.SEEDS),
    "events": (events, [EVENTS]),
    "streams": (
        streams,
        [
            test_transcript.FIRST + test_transcript.TOKEN,
            test_transcript.LAST + test_transcript.DONE,
        ],
    ),
    "pages": (pages, []),
    "codings": (codings, []),
}


def main(arguments: list[str]) -> None:
    """Fuzz one target."""
    if not arguments or arguments[0] not in TARGETS:
        sys.exit(f"usage: coverage_guided.py {'|'.join(TARGETS)} [SECONDS] [CORPUS]")
    target, seeds = TARGETS[arguments[0]]
    seconds = arguments[1] if len(arguments) > 1 else "60"
    folder = Path(arguments[2] if len(arguments) > 2 else tempfile.mkdtemp())
    folder.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds):
        (folder / f"seed-{number}").write_bytes(seed)
    options: list[Any] = [sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", str(folder)]
    atheris.Setup(options, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
