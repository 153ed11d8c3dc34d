"""What clients may make the router hold and how long they may take; whether it is being stopped."""

from dataclasses import dataclass

from router.errors import RouterError, Source

_MEMORY_RETRY_S = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on clients. `body_bytes`: of one request's body. `connections`: at a time.

    `keep_alive_s`: how long a connection waits for a request, and an upload for its next bytes. `receive_s`: how
    long a whole request may take to come in. `client_stall_s`: how long a client may read nothing of an answer.
    """

    body_bytes: int = 64 << 20
    connections: int = 20_000
    keep_alive_s: float = 75.0
    receive_s: float = 300.0
    client_stall_s: float = 300.0


class BodyMemory:
    """Bytes of all request bodies that are held: being received, waiting, or under way."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int = 1 << 30) -> None:
        self.held = 0
        self.limit = limit


class Drain:
    """How the router is being stopped: set by whoever stops it, a signal handler too; looked at by all others.

    `active`: it is. `graceful`: new connections are still served for a while. `at_once`: nothing is waited for.
    """

    __slots__ = ("active", "at_once", "graceful")

    def __init__(self) -> None:
        self.active = False
        self.graceful = False
        self.at_once = False

    def ask(self, *, graceful: bool) -> None:
        """Stop; asked again: at once."""
        if self.active:
            self.at_once = True
        else:
            self.graceful = graceful
            self.active = True


def out_of_body_memory(limit: int) -> RouterError:
    """The bodies of all requests together are over the limit."""
    return RouterError(
        503,
        "router_out_of_memory",
        f"The bodies of all requests under way are larger than this router holds ({limit} bytes). "
        "Try again later, or raise `body_memory_limit`.",
        retry_after_s=_MEMORY_RETRY_S,
    )


def too_many_connections(limit: int) -> RouterError:
    """As many clients are connected as may be."""
    return RouterError(
        503,
        "too_many_connections",
        f"This router serves {limit} connections at a time. Try again later, or raise `max_connections`.",
        retry_after_s=1,
    )


def request_timeout(detail: str) -> RouterError:
    """A request did not come in in time."""
    return RouterError(408, "request_timeout", f"The request {detail}.", source=Source.CLIENT)
