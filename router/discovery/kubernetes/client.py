"""Asks the API server, over the router's own HTTP client."""

import asyncio
import ssl
from collections.abc import Callable

import msgspec

from router.discovery.kubernetes.account import Account
from router.discovery.kubernetes.answers import Lines
from router.discovery.kubernetes.objects import Status
from router.errors import SHUTTING_DOWN, RouterError
from router.upstream.answers import TooLongError, Whole
from router.upstream.headers import RequestLine, request_head, retry_after_in
from router.upstream.pool import Pool

_ANSWER_BYTES = 128 * 1024 * 1024
_LINE_BYTES = 16 * 1024 * 1024
"""etcd takes objects of up to 1.5 MiB, as Protobuf."""

_IDLE_S = 2.0


class ApiError(Exception):
    """The API server did not say what was asked of it. `status`: of its answer; 0: there was none."""

    def __init__(self, message: str, status: int = 0, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class GoneError(ApiError):
    """It does not remember so far back: what was going on is to be begun anew."""


def error_of(status: Status, code: int = 0, retry_after_s: float = 0.0) -> ApiError:
    """What went wrong, as the server says it."""
    code = code or status.code
    said = status.message or status.reason
    kind = GoneError if code == 410 or status.reason in ("Expired", "Gone") else ApiError
    return kind(f"HTTP {code}{f': {said}' if said else ''}", code, retry_after_s)


class Client:
    """One list or watch at a time. `connect_s`, `answer_s`: how long a connection and an answer may take."""

    def __init__(self, account: Account, *, connect_s: float = 5.0, answer_s: float = 30.0) -> None:
        self.account = account
        self._connect_s = connect_s
        self._answer_s = answer_s
        self._pool: Pool | None = None

    async def get(self, target: str, accept: str) -> bytes:
        """A whole answer. Raises `ApiError`."""
        answer = Whole(_ANSWER_BYTES)
        await self._ask(target, accept, answer, self._answer_s)
        return bytes(answer.body)

    async def stream(
        self,
        target: str,
        accept: str,
        line: Callable[[bytes], None],
        begun: Callable[[], None],
        within_s: float,
    ) -> None:
        """Hand on an answer's lines until it ends, however it does. Raises `ApiError`, also where it has not ended
        `within_s`, and what `line` raises.
        """
        answer = Lines(_LINE_BYTES, line, begun)
        await self._ask(target, accept, answer, within_s)

    def close(self) -> None:
        """Close the connection."""
        if self._pool is not None:
            self._pool.close(SHUTTING_DOWN)
            self._pool = None

    async def _ask(self, target: str, accept: str, answer: Whole, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                await self._exchange(target, accept, answer)
        except TimeoutError:
            raise ApiError(self._told(f"has not ended an answer within {within_s:g} s")) from None
        except RouterError as error:
            if not (isinstance(answer, Lines) and answer.status == 200):
                name = self.account.address.authority
                told = error.message.replace(f"Worker {name}", f"The API server {name}")
                raise ApiError(told.replace(f"worker {name}", f"the API server {name}")) from None
        except TooLongError as error:
            raise ApiError(self._told(f"says too much: {error}")) from None
        except (OSError, ValueError) as error:  # files of the account
            raise ApiError(str(error)) from None
        if answer.status != 200:
            raise _refusal(answer)

    async def _exchange(self, target: str, accept: str, answer: Whole) -> None:
        head = self._head(target, accept)
        pool, connection = self._pool, self._pool.take() if self._pool else None
        if pool is None or connection is None:
            self.close()
            pool = self._pool = self._new_pool(await asyncio.to_thread(self.account.tls))
            connection = await pool.connect()
        connection.send(head, b"", answer, is_head=False)
        try:
            await answer.done
        finally:
            if not answer.ended:
                connection.abort()

    def _new_pool(self, tls: ssl.SSLContext | None) -> Pool:
        return Pool(self.account.address, tls, connect_s=self._connect_s, idle_s=_IDLE_S)

    def _head(self, target: str, accept: str) -> bytes:
        address, token = self.account.address, self.account.token()
        fields = [(b"accept", accept.encode()), (b"user-agent", b"prefix-router")]
        if token is not None:
            fields.append((b"authorization", b"Bearer " + token.encode()))
        line = RequestLine(b"GET", address.prefix + target.encode("ascii"), b"router-discovery")
        return request_head(line, address.authority.encode(), fields, 0)

    def _told(self, what: str) -> str:
        return f"The API server {self.account.address.authority} {what}"


def _refusal(answer: Whole) -> ApiError:
    try:
        status = msgspec.json.decode(answer.body, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        status = Status(message=answer.body[:200].decode("utf-8", "replace").strip())
    return error_of(status, answer.status, retry_after_in(answer.fields) or 0.0)
