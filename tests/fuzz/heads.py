"""Requests whose heads are odd: lines, targets, versions, names of hosts, expectations."""

from tests.fuzz.cases import BODY, CHAT, CHUNKED, CHUNKS, LENGTH, Case, accepted, framed, post

HOST = b"Host: x\r\n"


def _line(name: str, line: bytes) -> Case:
    return Case(name, framed(line))


def _target(name: str, target: bytes) -> Case:
    return Case(name, framed(target=target))


def _version(name: str, version: bytes) -> Case:
    return Case(name, framed(version=version))


LINES = [
    _line("line that goes on", b"X: y\r\n z"),
    _line("line that goes on with a tab", b"X: y\r\n\tz"),
    _line("line that goes on with nothing", b"X: y\r\n "),
    _line("blank before the colon", b"X : y"),
    _line("tab before the colon", b"X\t: y"),
    _line("no colon", b"no colon"),
    _line("no field name", b": y"),
    _line("CR in a value", b"X: y\rContent-Length: 0"),
    _line("CR before the line's end", b"X: y\r"),
    _line("LF for a line's end", b"X: y\nZ: z"),
    _line("NUL in a value", b"X: y\0z"),
    _line("NUL in a name", b"X\0: y"),
    _line("control character in a value", b"X: y\x01z"),
    _line("DEL in a value", b"X: y\x7fz"),
    _line("control character in a name", b"X\x01: y"),
    _line("byte over 127 in a name", "É: y".encode()),
    _line("brackets in a name", b"X(y): z"),
    _line("blank in a name", b"X y: z"),
    Case("first line that goes on", framed().replace(HOST, b" X: y\r\n" + HOST, 1)),
    Case("nothing but LFs", framed().replace(b"\r\n", b"\n")),
    Case("LF ends the head", framed().replace(b"\r\n\r\n", b"\n\n", 1)),
    Case("CR ends the head", framed().replace(b"\r\n\r\n", b"\r\r", 1)),
    Case("blanks before the request", b" " + framed()),
    Case("huge field", framed(b"X: " + b"a" * 70_000), (431,)),
    Case("many fields", framed(*(b"X-%d: y" % n for n in range(9000))), (431,)),
    Case("nothing but line ends", b"\r\n" * 40_000, (431,)),
    accepted("byte over 127 in a value", framed("X: é".encode())),
    accepted("value that is empty", framed(b"X:")),
    accepted("line ends before the request", b"\r\n\r\n" + framed()),
]

TARGETS = [
    accepted("escaped line end", framed(target=CHAT + b"?a=%0d%0aX-Injected:%201")),
    accepted("fragment", framed(target=CHAT + b"#a")),
    accepted("absolute form", framed(target=b"http://other" + CHAT)),
    accepted("absolute form with a query", framed(target=b"http://other:1" + CHAT + b"?a=b")),
    _target("CR", CHAT + b"?a\rb"),
    _target("LF", CHAT + b"?a\nb"),
    _target("NUL", CHAT + b"?a\0b"),
    _target("control character", CHAT + b"?a\x01b"),
    _target("blank", CHAT + b"?a b"),
    _target("tab", CHAT + b"?a\tb"),
    _target("byte over 127", CHAT + "?é".encode()),
    _target("absolute form without a path", b"http://other"),
    _target("absolute form without a host", b"http://"),
    _target("authority form", b"other:80"),
    _target("no slash", b"v1/chat/completions"),
    _target("no target", b""),
    Case("back in the path", framed(target=b"/v1/chat/../../metrics"), (404,), closes=False),
    Case("escaped dots", framed(target=b"/v1/%2e%2e/metrics"), (404,), closes=False),
    Case("escaped slash", framed(target=b"/v1%2fchat/completions"), (404,), closes=False),
    Case("escaped letter", framed(target=b"/v1/ch%61t/completions"), (404,), closes=False),
    Case("backslashes", framed(target=b"/v1\\chat\\completions"), (404,), closes=False),
    Case("huge target", framed(target=CHAT + b"?" + b"a" * 70_000), (431,)),
    Case("options of the server", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", (404,), closes=False),
]

VERSIONS = [
    _version("HTTP/1.2", b"HTTP/1.2"),
    _version("HTTP/11.1", b"HTTP/11.1"),
    _version("HTTP/1.10", b"HTTP/1.10"),
    _version("HTTP/3.0", b"HTTP/3.0"),
    _version("small letters", b"http/1.1"),
    _version("blank in the version", b"HTTP/ 1.1"),
    _version("blank behind the version", b"HTTP/1.1 "),
    _version("no minor version", b"HTTP/1"),
    Case("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)),
    Case("TLS hello", bytes.fromhex("16030100f1010000ed0303") + bytes(80)),
    Case("unknown method", framed().replace(b"POST", b"HIDE", 1)),
    Case("method in small letters", framed().replace(b"POST", b"post", 1)),
    Case("tunnel", b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n"),
    accepted("HTTP/1.0", framed(version=b"HTTP/1.0"), closes=True),
    accepted("two blanks before the version", framed().replace(b" HTTP", b"  HTTP", 1)),
    accepted(
        "HTTP/2.0 in the line",
        framed(version=b"HTTP/2.0"),
        closes=True,
        nginx="it answers 505, which RFC 9110 15.6.6 allows and does not ask for",
    ),
    Case(
        "another protocol",
        framed(version=b"RTSP/1.0"),
        defect="llhttp takes RTSP for HTTP with some methods; here it is answered as HTTP/1.1",
        nginx="it answers 400",
    ),
    Case("HTTP/0.9", b"GET /health\r\n\r\n", (200,)),
]

HOSTS = [
    Case("none", framed().replace(HOST, b"", 1)),
    Case("two", framed(b"Host: y")),
    Case("the same twice", framed(b"Host: x")),
    Case(
        "no name",
        framed().replace(b"Host: x", b"Host: x y", 1),
    ),
    accepted(
        "empty", framed().replace(b"Host: x", b"Host:", 1), nginx="it does not follow RFC 9110 7.2"
    ),
    accepted("none in HTTP/1.0", framed(version=b"HTTP/1.0").replace(HOST, b"", 1), closes=True),
]

UPGRADE = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")

OFFERS = [
    accepted("body at once", framed(b"Expect: 100-continue")),
    accepted("what nobody knows", framed(b"Expect: 200-ok")),
    accepted("h2c", framed(*UPGRADE)),
    accepted("h2c and a request behind it", framed(*UPGRADE) + framed(), BODY, BODY),
    accepted("a chunked body", post(CHUNKED, *UPGRADE, body=CHUNKS)),
    accepted("Connection names the length", framed(b"Connection: content-length")),
    accepted("Connection names Host", framed(b"Connection: host, x-marker")),
    accepted("two requests", framed() + framed(), BODY, BODY),
    accepted("a request behind a last one", framed(b"Connection: close") + framed(), closes=True),
    Case(
        "two lengths in an offer",
        post(*UPGRADE, LENGTH, b"Content-Length: 0", body=BODY),
    ),
]

CASES = [*LINES, *TARGETS, *VERSIONS, *HOSTS, *OFFERS]
