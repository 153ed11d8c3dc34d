"""Answers of the API server that never end (`upstream.connection.ResponseHandler`)."""

from collections.abc import Callable

from router.ids import Headers
from router.upstream.answers import Whole


class Lines(Whole):
    """Hands on each line of an answer as it comes; `limit_bytes` is for one. `begun` is called when the first may come.
    What `line` raises ends it.
    """

    def __init__(
        self, limit_bytes: int, line: Callable[[bytes], None], begun: Callable[[], None]
    ) -> None:
        super().__init__(limit_bytes)
        self._line = line
        self._begun = begun

    def on_response(self, status: int, headers: Headers, length: int | None) -> None:
        super().on_response(status, headers, length)
        if status == 200:
            self._begun()

    def on_body(self, data: bytes) -> None:
        if self.status != 200 or b"\n" not in data:
            super().on_body(data)
            return
        first, *others = data.split(b"\n")
        lines = [bytes(self.body) + first, *others]
        self.body = bytearray(lines.pop())
        try:
            for line in filter(bytes.strip, lines):
                if self.done.done():
                    return
                self._line(line)
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is awaited
            self._end(error)
