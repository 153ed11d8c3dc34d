"""Whatever a worker answers, in whatever pieces: told in order, ended once, nothing raised."""

from hypothesis import event, given
from hypothesis import strategies as st

from router.upstream.connection import Connection
from tests.fuzz.limits import FUZZ
from tests.fuzz.mutations import CUTS, mutated, pieces
from tests.fuzz.worker_answers import CASES, CHUNKED, HIDDEN, LENGTH, OK
from tests.unit.support import Event, FakeHandler, FakeOwner, FakeTransport

SEEDS = [case.raw for case in CASES if len(case.raw) < 2000]
WORDS = [
    *(b"\r\n", b"\n", b"\r", b"\0", b"\t", b" ", b":", b",", b";", b"0\r\n\r\n", b"\r\n\r\n", b"-1", b"+1"),
    *(LENGTH, CHUNKED, OK, HIDDEN, b"Content-Length: 0\r\n", b"Transfer-Encoding: gzip\r\n"),
    *(b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n", b"ffffffffffffffff\r\n"),
    *(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 101 X\r\n", b"HTTP/1.0 ", b"204 ", b"304 ", b"103 "),
]  # fmt: skip
ENDS = st.sampled_from([None, None, ConnectionResetError(), "open"])
ENDINGS = ("complete", "lost")


@FUZZ
@given(data=mutated(SEEDS, WORDS), cuts=CUTS, end=ENDS, is_head=st.booleans())
def test_answers_end_once(
    data: bytes, cuts: list[int], end: Exception | str | None, is_head: bool
) -> None:
    owner, transport, handler = FakeOwner(), FakeTransport(), FakeHandler()
    connection = Connection(owner)
    connection.connection_made(transport)
    connection.send(b"", b"", handler, is_head=is_head)
    for piece in pieces(data, cuts):
        if not transport.is_closing():
            connection.data_received(piece)
    if end != "open":
        transport.close()
        connection.connection_lost(end if isinstance(end, Exception) else None)
    told = handler.told()
    kinds = [each[0] for each in told]
    event(kinds[-1] if kinds else "nothing")
    assert sum(kinds.count(ending) for ending in ENDINGS) == (
        1 if end != "open" or transport.is_closing() or owner.idle else 0
    )
    if kinds and kinds[-1] == "complete":
        assert kinds.count("response") == 1
    assert kinds.count("response") <= 1
    for kind, before in zip(kinds[1:], kinds, strict=False):
        assert before not in ENDINGS, kinds
        assert kind != "informational" or before == "informational", kinds


@FUZZ
@given(data=mutated(SEEDS, WORDS), cuts=CUTS)
def test_pieces_make_no_difference(data: bytes, cuts: list[int]) -> None:
    """To what is told; only where a broken answer ends may differ."""
    told = [_told([data]), _told(pieces(data, cuts))]
    whole, parts = ([each for each in one if each[0] != "body"] for one in told)
    assert whole == parts
    bodies = [b"".join(each[1] for each in one if each[0] == "body") for one in told]
    assert bodies[0] == bodies[1] or whole[-1][0] == "lost"


def _told(reads: list[bytes]) -> list[Event]:
    transport, handler = FakeTransport(), FakeHandler()
    connection = Connection(FakeOwner())
    connection.connection_made(transport)
    connection.send(b"", b"", handler, is_head=False)
    for read in reads:
        if not transport.is_closing():
            connection.data_received(read)
    transport.close()
    connection.connection_lost(None)
    return [each for each in handler.told() if each[0] != "read"]
