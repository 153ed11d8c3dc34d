"""Request bodies that come compressed: decoded piece by piece, never larger than the limit."""

import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

from router.errors import RouterError, Source, body_too_large
from router.ids import Headers

brotli: Any = None
zstd: Any = None
with suppress(ImportError):
    import brotli  # type: ignore[no-redef]
with suppress(ImportError):
    if sys.version_info >= (3, 14):
        from compression import zstd  # type: ignore[no-redef]
    else:
        from backports import zstd

_PIECE_BYTES = 1 << 18
_GZIP, _ZLIB = 31, 15
"""What zlib calls these formats."""
_ZSTD_WINDOW_LOG = 23
"""RFC 9659: 8 MiB. A frame's head alone can demand a window of any size."""


class _Codec(Protocol):
    """One coding's decoder."""

    @property
    def complete(self) -> bool:
        """What has been fed ends where the coding says."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode in pieces of bounded size; raises the library's own errors."""


class Decoder:
    """Decodes one body of at most `limit` bytes."""

    def __init__(self, codec: _Codec, limit: int) -> None:
        self._codec = codec
        self._limit = limit
        self._decoded = 0
        self._fed = False

    def feed(self, data: bytes) -> list[bytes]:
        """What these bytes decode to; raises `RouterError`: 413 over the limit, 400 what is corrupt."""
        self._fed = self._fed or bool(data)
        pieces = []
        try:
            for piece in self._codec.feed(data):
                self._decoded += len(piece)
                if self._decoded > self._limit:
                    raise body_too_large(self._limit)
                pieces.append(piece)
        except _CORRUPT as error:
            raise _corrupt(str(error)) from None
        return pieces

    def finish(self) -> None:
        """The body is complete; raises `RouterError` when its coding is not."""
        if self._fed and not self._codec.complete:
            raise _corrupt("it is cut off")


def decoder(headers: Headers, limit: int) -> Decoder | None:
    """What decodes a body with these header fields, None: it is as it is. Raises `RouterError`, 415."""
    fields = b",".join(value for name, value in headers if name == b"content-encoding")
    codings = [coding.strip().lower() for coding in fields.split(b",")]
    codings = [coding for coding in codings if coding not in (b"", b"identity")]
    if not codings:
        return None
    made = _CODECS.get(codings[0])
    if made is None or len(codings) > 1:
        raise _unsupported(b", ".join(codings).decode("latin-1"))
    return Decoder(made(), limit)


def without_coding(headers: Headers) -> Headers:
    """The header fields of the decoded body."""
    return [field for field in headers if field[0] != b"content-encoding"]


def _corrupt(detail: str) -> RouterError:
    message = f"The request body is not what its content-encoding says: {detail}."
    return RouterError(400, "invalid_content_encoding", message, source=Source.CLIENT)


def _unsupported(coding: str) -> RouterError:
    accepted = b", ".join(sorted(_CODECS))
    return RouterError(
        415,
        "unsupported_content_encoding",
        f"The content-encoding {coding!r} is not accepted; one of these is: {accepted.decode()}.",
        source=Source.CLIENT,
        fields=((b"accept-encoding", accepted),),
    )


class _Members:
    """Zlib's formats and Zstandard: streams that may follow one another."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._stream = make()

    @property
    def complete(self) -> bool:
        """The last one has ended."""
        return bool(self._stream.eof)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            if self._stream.eof and data:
                self._stream = self._make()
            piece = self._stream.decompress(data, _PIECE_BYTES)
            yield piece
            data = getattr(self._stream, "unconsumed_tail", b"") or self._stream.unused_data
            if not data and (len(piece) < _PIECE_BYTES or self._stream.eof):
                return


class _Brotli:
    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    @property
    def complete(self) -> bool:
        """The stream has ended."""
        return bool(self._stream.is_finished())

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            piece = self._stream.process(data, output_buffer_limit=_PIECE_BYTES)
            yield piece
            data = b""
            if not piece and self._stream.can_accept_more_data():
                return


def _zstandard() -> _Codec:
    options = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    return _Members(lambda: zstd.ZstdDecompressor(options=options))


_CODECS: dict[bytes, Callable[[], _Codec]] = {
    b"gzip": lambda: _Members(lambda: zlib.decompressobj(_GZIP)),
    b"x-gzip": lambda: _Members(lambda: zlib.decompressobj(_GZIP)),
    b"deflate": lambda: _Members(lambda: zlib.decompressobj(_ZLIB)),
}
_CORRUPT: tuple[type[Exception], ...] = (zlib.error,)
if zstd is not None:
    _CODECS[b"zstd"] = _zstandard
    _CORRUPT += (zstd.ZstdError,)
if brotli is not None:
    _CODECS[b"br"] = _Brotli
    _CORRUPT += (brotli.error,)
