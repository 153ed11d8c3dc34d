"""A whole answer, gathered as it comes (`upstream.connection.ResponseHandler`)."""

import asyncio

from router.errors import RouterError
from router.ids import Headers


class TooLongError(Exception):
    """What came is longer than anything that is meant to."""


class Whole:
    """Gathers an answer. `done` ends with it, or raises what ended it; `ended`: the connection is of no concern any more."""

    def __init__(self, limit_bytes: int) -> None:
        self.status = 0
        self.fields: dict[bytes, bytes] = {}
        self.body = bytearray()
        self.ended = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._limit = limit_bytes

    def on_informational(self, status: int, headers: Headers) -> None:
        pass

    def on_response(self, status: int, headers: Headers, length: int | None) -> None:
        self.status = status
        self.fields = dict(headers)

    def on_body(self, data: bytes) -> None:
        self.body += data
        if len(self.body) > self._limit:
            self._end(TooLongError(f"more than {self._limit} bytes"))

    def on_read(self) -> None:
        pass

    def on_complete(self, trailers: Headers) -> None:
        self.ended = True
        self._end(None)

    def on_lost(self, error: RouterError) -> None:
        self.ended = True
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.body.clear()
            self.done.set_exception(error)
