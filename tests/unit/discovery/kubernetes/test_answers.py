"""Answers in whatever pieces they come."""

import pytest

from router.discovery.kubernetes.answers import Lines
from router.upstream.answers import TooLongError


class Rig(Lines):
    def __init__(self, limit: int = 100) -> None:
        super().__init__(limit, self._hear, self._start)
        self.lines: list[bytes] = []
        self.starts = 0

    def _hear(self, line: bytes) -> None:
        if line == b"bad":
            raise ValueError("a bad line")
        self.lines.append(line)

    def _start(self) -> None:
        self.starts += 1


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
async def test_lines(size: int) -> None:
    rig = Rig()
    rig.on_response(200, [], None)
    data = b"one\ntwo\n\nthree\r\n \nfour\n"
    for start in range(0, len(data), size):
        rig.on_body(data[start : start + size])
        rig.on_read()
    rig.on_complete([])
    await rig.done
    assert rig.lines == [b"one", b"two", b"three\r", b"four"]
    assert rig.starts == 1
    assert rig.ended


async def test_line_that_is_cut_short_is_none() -> None:
    rig = Rig()
    rig.on_response(200, [], None)
    rig.on_body(b"one\ntw")
    rig.on_complete([])
    assert rig.lines == [b"one"]


async def test_line_that_is_too_long() -> None:
    rig = Rig(limit=10)
    rig.on_response(200, [], None)
    for _ in range(5):
        rig.on_body(b"12345678\n123")
    assert not rig.done.done()
    rig.on_body(b"45678901234")
    with pytest.raises(TooLongError):
        await rig.done
    assert len(rig.body) < 20


async def test_what_a_line_raises() -> None:
    """It ends the answer; nothing is handed on after it."""
    rig = Rig()
    rig.on_response(200, [], None)
    rig.on_body(b"one\nbad\ntwo\n")
    rig.on_body(b"three\n")
    rig.on_complete([])
    with pytest.raises(ValueError, match="a bad line"):
        await rig.done
    assert rig.lines == [b"one"]


async def test_refusal_is_no_line() -> None:
    rig = Rig()
    rig.on_informational(103, [])
    rig.on_response(410, [(b"retry-after", b"1")], 4)
    rig.on_body(b"gone\n")
    rig.on_complete([])
    await rig.done
    assert (rig.status, bytes(rig.body), rig.lines) == (410, b"gone\n", [])
    assert rig.fields == {b"retry-after": b"1"}
    assert rig.starts == 0
