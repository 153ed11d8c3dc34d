"""Requests whose bodies end here for one parser and there for another."""

from tests.fuzz.cases import BODY, CHUNKED, CHUNKS, HIDDEN, LENGTH, Case, accepted, chunked, post

HIDDEN_LENGTH = b"Content-Length: %d" % len(HIDDEN)
ALL_LENGTH = b"Content-Length: %d" % len(CHUNKS + HIDDEN)


def _length(name: str, value: bytes) -> Case:
    return Case(name, post(b"Content-Length:" + value, body=BODY))


def _coding(name: str, value: bytes) -> Case:
    return Case(name, post(b"Transfer-Encoding:" + value, body=CHUNKS))


LENGTHS = [
    Case("two lengths that differ", post(LENGTH, b"Content-Length: 0", body=BODY)),
    Case("a hidden request", post(b"Content-Length: 0", HIDDEN_LENGTH, body=HIDDEN)),
    Case("the same length twice", post(LENGTH, LENGTH, body=BODY)),
    Case("two spellings of a length", post(LENGTH, b"content-length: 013", body=BODY)),
    _length("a list of lengths", b" 13, 13"),
    _length("a list of lengths that differ", b" 13, 0"),
    _length("length with a plus", b" +13"),
    _length("length with a minus", b" -13"),
    _length("length of minus zero", b" -0"),
    _length("length in hex", b" 0xd"),
    _length("length with a letter", b" 13a"),
    _length("length with a blank inside", b" 1 3"),
    _length("length with an underscore", b" 1_3"),
    _length("length in other digits", " \u0661\u0663".encode()),
    _length("length with a fraction", b" 13.0"),
    _length("length in quotes", b' "13"'),
    _length("length over 64 bits", b" 18446744073709551629"),
    _length("length that is empty", b""),
    _length("length behind a vertical tab", b" \x0b13"),
    Case("length over the limit", post(b"Content-Length: 9223372036854775807"), (413,)),
    Case("length with a blank before the colon", post(b"Content-Length : 13", body=BODY)),
    Case("length with a tab before the colon", post(b"Content-Length\t: 13", body=BODY)),
    Case("length that goes on", post(b"Content-Length:", b" 13", body=BODY)),
    accepted("length with zeros before it", post(b"Content-Length: 0013", body=BODY)),
    accepted(
        "length with blanks around it",
        post(b"Content-Length: \t 13 \t", body=BODY),
        nginx="it takes no tabs there",
    ),
    accepted("a body of nothing and a request behind it", post() + HIDDEN, b"", BODY),
    accepted(
        "length of zero and a request behind it", post(b"Content-Length: 0") + HIDDEN, b"", BODY
    ),
    accepted(
        "GET with a body",
        post(LENGTH, method=b"GET", target=b"/v1/responses/resp_1", body=BODY),
    ),
]

CODINGS = [
    Case("length, then chunked", post(LENGTH, CHUNKED, body=CHUNKS)),
    Case("chunked, then length", post(CHUNKED, LENGTH, body=CHUNKS)),
    Case(
        "length of a part, chunked",
        post(b"Content-Length: 6", CHUNKED, body=b"0\r\n\r\nG" + HIDDEN),
    ),
    Case("chunked, length of more", post(CHUNKED, ALL_LENGTH, body=CHUNKS + HIDDEN)),
    Case(
        "chunked and length with an upgrade",
        post(CHUNKED, LENGTH, b"Connection: Upgrade", b"Upgrade: x", body=CHUNKS),
    ),
    accepted("chunked", chunked(CHUNKS)),
    accepted("chunked and a request behind it", chunked(CHUNKS) + HIDDEN, BODY, BODY),
    accepted("chunked in capitals", post(b"TRANSFER-ENCODING: CHUNKED", body=CHUNKS)),
    accepted("chunked with blanks around it", post(b"Transfer-Encoding:  chunked  ", body=CHUNKS)),
    accepted(
        "chunked with a comma before it",
        post(b"Transfer-Encoding: , chunked", body=CHUNKS),
        nginx="it takes no empty elements",
    ),
    accepted(
        "chunked in HTTP/1.0",
        post(CHUNKED, body=CHUNKS, version=b"HTTP/1.0"),
        closes=True,
        nginx="it refuses what RFC 9112 lets be answered if the connection is closed",
    ),
    _coding("chunked with tabs around it", b"\tchunked\t"),
    _coding("xchunked", b" xchunked"),
    _coding("chunkedx", b" chunkedx"),
    _coding("chunked, then identity", b" chunked, identity"),
    _coding("chunked, then gzip", b" chunked, gzip"),
    _coding("chunked twice", b" chunked, chunked"),
    _coding("chunked in quotes", b' "chunked"'),
    _coding("chunked with a parameter", b" chunked;q=1"),
    _coding("chunked with a comma behind it", b" chunked,"),
    _coding("chunked behind a vertical tab", b" \x0bchunked"),
    _coding("chunked with a NUL", b" chunked\0"),
    _coding("chunked with a blank inside", b" chun ked"),
    _coding("chunked on the next line", b"\r\n chunked"),
    Case("identity and length", post(b"Transfer-Encoding: identity", LENGTH, body=BODY)),
    Case("nothing and length", post(b"Transfer-Encoding:", LENGTH, body=BODY)),
    Case("chunked in two fields", post(CHUNKED, CHUNKED, body=CHUNKS)),
    Case(
        "chunked, identity in two fields",
        post(CHUNKED, b"Transfer-Encoding: identity", body=CHUNKS),
    ),
    Case(
        "coding with a blank before the colon",
        post(b"Transfer-Encoding : chunked", LENGTH, body=BODY),
    ),
    Case(
        "coding on a line that goes on",
        post(b"X: y", b" Transfer-Encoding: chunked", LENGTH, body=BODY),
    ),
    accepted("coding with an underscore", post(b"Transfer_Encoding: chunked", LENGTH, body=BODY)),
    Case(
        "identity, then chunked",
        post(b"Transfer-Encoding: identity, chunked", body=CHUNKS),
        (501,),
    ),
    Case(
        "gzip, then chunked",
        post(b"Transfer-Encoding: gzip, chunked", body=CHUNKS),
        (501,),
    ),
]


def _size(name: str, line: bytes) -> Case:
    return Case(name, chunked(line + BODY + b"\r\n0\r\n\r\n"))


def _trailer(name: str, line: bytes) -> Case:
    return Case(name, chunked(b"d\r\n" + BODY + b"\r\n0\r\n" + line + b"\r\n\r\n"))


PIECES = [
    accepted("chunk extensions", chunked(b'd;a=b;c="d"\r\n' + BODY + b"\r\n0;z\r\n\r\n")),
    accepted("trailers", chunked(b"d\r\n" + BODY + b"\r\n0\r\nX-Sum: 1\r\nX-Marker: no\r\n\r\n")),
    accepted("size with zeros before it", chunked(b"000d\r\n" + BODY + b"\r\n000\r\n\r\n")),
    accepted("size in capitals", chunked(b"D\r\n" + BODY + b"\r\n0\r\n\r\n")),
    accepted("two chunks", chunked(b'6\r\n{"mode\r\n7\r\nl":"m"}\r\n0\r\n\r\n')),
    _size("size over 64 bits", b"1000000000000000d\r\n"),
    _size("size with 0x", b"0xd\r\n"),
    _size("size with a plus", b"+d\r\n"),
    _size("size with a minus", b"-d\r\n"),
    _size("size with a blank before it", b" d\r\n"),
    _size("size with a blank behind it", b"d \r\n"),
    _size("size with an underscore", b"0_d\r\n"),
    _size("size that is empty", b"\r\n"),
    _size("size that is no number", b"g\r\n"),
    _size("size that ends with LF", b"d\n"),
    _size("size that ends with CR", b"d\r"),
    _size("size that is too small", b"c\r\n"),
    _size("size that is too large", b"e\r\n"),
    _size("extension with LF", b"d;a\n"),
    _size("extension with CR", b"d;a\rb\r\n"),
    _size("extension with NUL", b"d;a\0\r\n"),
    _size("extension with an open quote", b'd;a="b\r\n'),
    Case("chunk that ends with LF", chunked(b"d\r\n" + BODY + b"\n0\r\n\r\n")),
    Case("chunk that ends with nothing", chunked(b"d\r\n" + BODY + b"0\r\n\r\n")),
    Case("last chunk that ends with LF", chunked(b"d\r\n" + BODY + b"\r\n0\n\n")),
    _trailer("trailer without a colon", b"no trailer"),
    _trailer("trailer with a blank before the colon", b"X : y"),
    _trailer("length in a trailer", b"Content-Length: 5"),
    _trailer("coding in a trailer", b"Transfer-Encoding: chunked"),
]

CASES = [*LENGTHS, *CODINGS, *PIECES]
