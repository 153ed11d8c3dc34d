"""Answers of workers that parsers may read differently, and what a client may get for them."""

from dataclasses import dataclass

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 5\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
HUGE = OK + b"X: " + b"a" * 1_000_000 + b"\r\n" + LENGTH + b"\r\nhello"
HIDDEN = OK + b"X-Marker: hidden\r\nContent-Length: 6\r\n\r\nhidden"
"""What a worker that was fooled sends behind an answer."""


@dataclass(frozen=True, slots=True)
class Case:
    """`raw` is what a worker sends, and closes the connection behind it if `closes`.

    The client gets `status` and `body`; with `cut` its connection ends before a whole answer has come. `defect`: why it
    is otherwise now.
    """

    name: str
    raw: bytes
    status: int = 502
    body: bytes | None = None
    closes: bool = False
    cut: bool = False
    defect: str = ""


def whole(
    name: str, raw: bytes, body: bytes = b"hello", status: int = 200, *, closes: bool = False
) -> Case:
    """An answer that everybody understands alike."""
    return Case(name, raw, status, body, closes)


def _length(name: str, value: bytes) -> Case:
    return Case(name, OK + b"Content-Length:" + value + b"\r\n\r\nhello", closes=True)


def _line(name: str, line: bytes) -> Case:
    return Case(name, OK + LENGTH + line + b"\r\n\r\nhello", closes=True)


def _first(name: str, line: bytes, defect: str = "") -> Case:
    return Case(name, line + b"\r\n" + LENGTH + b"\r\nhello", closes=True, defect=defect)


def _chunks(name: str, chunks: bytes, *, cut: bool = False) -> Case:
    return Case(name, OK + CHUNKED + b"\r\n" + chunks, cut=cut, closes=True)


def _coding(name: str, value: bytes) -> Case:
    raw = OK + b"Transfer-Encoding: %b\r\n\r\n5\r\nhello\r\n0\r\n\r\n" % value
    return Case(name, raw, closes=True)


LENGTHS = [
    whole("length", OK + LENGTH + b"\r\nhello"),
    whole("no length and the end", OK + b"\r\nhello", closes=True),
    whole("nothing at all", OK + b"Content-Length: 0\r\n\r\n", b""),
    Case("two lengths that differ", OK + LENGTH + b"Content-Length: 3\r\n\r\nhello", closes=True),
    Case("the same length twice", OK + LENGTH + LENGTH + b"\r\nhello", closes=True),
    _length("a list of lengths", b" 5, 5"),
    _length("length with a plus", b" +5"),
    _length("length with a minus", b" -5"),
    _length("length in hex", b" 0x5"),
    _length("length with a letter", b" 5a"),
    _length("length over 64 bits", b" 18446744073709551621"),
    _length("length that is empty", b""),
    Case("length and chunked", OK + LENGTH + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n\r\n", closes=True),
    Case("chunked and length", OK + CHUNKED + LENGTH + b"\r\n5\r\nhello\r\n0\r\n\r\n", closes=True),
    Case(
        "less than its length", OK + b"Content-Length: 9\r\n\r\nhello", 200, cut=True, closes=True
    ),
    whole("more than its length", OK + LENGTH + b"\r\nhello, and more"),
    whole("an answer behind it", OK + LENGTH + b"\r\nhello" + HIDDEN),
    whole("an answer behind a chunked one", OK + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n\r\n" + HIDDEN),
    whole(
        "a body with 204", b"HTTP/1.1 204 No Content\r\n" + LENGTH + b"\r\nhello" + HIDDEN, b"", 204
    ),
    whole("a body with 304", b"HTTP/1.1 304 Not Modified\r\n\r\nhello" + HIDDEN, b"", 304),
]

CODINGS = [
    whole("chunked", OK + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n\r\n"),
    whole("chunk extensions", OK + CHUNKED + b'\r\n5;a="b"\r\nhello\r\n0\r\n\r\n'),
    whole("trailers", OK + CHUNKED + b"\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"),
    whole("chunked twice", OK + CHUNKED + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n\r\n"),
    _coding("xchunked", b"xchunked"),
    _coding("chunked, then identity", b"chunked, identity"),
    _coding("chunked, then nothing", b"chunked,"),
    _coding("chunked, then a tab", b"chunked\t"),
    _coding("gzip, then chunked", b"gzip, chunked"),
    _coding("gzip, then chunked, in two lines", b"gzip\r\nTransfer-Encoding: chunked"),
    _coding("gzip", b"gzip"),
    _chunks("chunk size over 64 bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    _chunks("chunk size that is no number", b"g\r\nhello\r\n0\r\n\r\n"),
    _chunks("chunk size with 0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
    _chunks("chunk size with a minus", b"-5\r\nhello\r\n0\r\n\r\n"),
    _chunks("chunk size with LF", b"5\nhello\r\n0\r\n\r\n"),
    _chunks("chunk without an end", b"5\r\nhello0\r\n\r\n"),
    _chunks("chunk that ends with LF", b"5\r\nhello\n0\r\n\r\n"),
    _chunks("no last chunk", b"5\r\nhello\r\n", cut=True),
    _chunks("last chunk without its end", b"5\r\nhello\r\n0\r\n", cut=True),
    _chunks("trailer that is none", b"5\r\nhello\r\n0\r\nno trailer\r\n\r\n"),
    _chunks("length in a trailer", b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n"),
]

LINES = [
    whole("no reason", b"HTTP/1.1 200 \r\n" + LENGTH + b"\r\nhello"),
    whole("no blank before no reason", b"HTTP/1.1 200\r\n" + LENGTH + b"\r\nhello"),
    whole("NUL in the reason", b"HTTP/1.1 200 O\0K\r\n" + LENGTH + b"\r\nhello"),
    whole("HTTP/1.0", b"HTTP/1.0 200 OK\r\n" + LENGTH + b"\r\nhello", closes=True),
    whole("unknown status", b"HTTP/1.1 299 Odd\r\n" + LENGTH + b"\r\nhello", status=299),
    whole("unknown class of status", b"HTTP/1.1 799 Odd\r\n" + LENGTH + b"\r\nhello", status=799),
    whole("interim answers", b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + OK + LENGTH + b"\r\nhello"),
    whole(
        "interim answer with a length",
        b"HTTP/1.1 103 Hints\r\n" + LENGTH + b"\r\n" + OK + LENGTH + b"\r\nhello",
    ),
    _first("status of two digits", b"HTTP/1.1 20 OK"),
    _first("status of four digits", b"HTTP/1.1 2000 OK"),
    _first("status of zeros", b"HTTP/1.1 000 OK"),
    _first("status below 100", b"HTTP/1.1 099 OK"),
    _first("status that is no number", b"HTTP/1.1 2x0 OK"),
    _first("HTTP/2", b"HTTP/2 200 OK"),
    _first("HTTP/1.2", b"HTTP/1.2 200 OK"),
    _first("HTTP/11.1", b"HTTP/11.1 200 OK"),
    _first("another protocol", b"ICY 200 OK"),
    _first("RTSP", b"RTSP/1.0 200 OK", "llhttp takes RTSP for HTTP"),
    _first("CR in the reason", b"HTTP/1.1 200 O\rK"),
    _first("nothing like HTTP", b"SSH-2.0-OpenSSH_9.2"),
    _first("a request", b"GET / HTTP/1.1"),
    Case(
        "other protocol that was not asked for",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello",
        closes=True,
    ),
    _line("line that goes on", b"X: y\r\n z"),
    _line("blank before the colon", b"X : y"),
    _line("no colon", b"no colon"),
    _line("CR in a value", b"X: y\rSet-Cookie: a=b"),
    _line("LF for a line's end", b"X: y\nZ: z"),
    _line("NUL in a value", b"X: y\0z"),
    _line("control character in a value", b"X: y\x01z"),
    _line("NUL in a name", b"X\0: y"),
    _line("byte over 127 in a name", "É: y".encode()),
    Case("nothing but LFs", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", closes=True),
    Case("LF ends the head", OK + b"Content-Length: 5\n\nhello", closes=True),
    Case("no answer", b"", closes=True),
    Case("part of a head", OK + b"Content-Le", closes=True),
    Case("huge head", HUGE, closes=True),
    Case("large head", OK + b"X: " + b"a" * 70_000 + b"\r\n" + LENGTH + b"\r\nhello", closes=True),
    Case("many lines", OK + b"X: y\r\n" * 30_000 + LENGTH + b"\r\nhello", closes=True),
]

CASES = [*LENGTHS, *CODINGS, *LINES]
