"""What can go wrong between a client and a worker, in terms a client can be told.

A library's exception becomes a `RouterError` in the module that owns the library. `router.edge.envelope`
turns it into the body of the API family that the client speaks.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Source(StrEnum):
    """Who is at fault."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    ROUTER = "router"


@dataclass(eq=False)
class RouterError(Exception):
    """A failure with the answer it deserves.

    `retryable` means that no worker can have started on the request, so that another may be asked. `kind`: what
    OpenAI's API calls its type, where that does not follow from the source; `fields`: further header fields.
    """

    status: int
    code: str
    message: str
    source: Source = field(default=Source.ROUTER, kw_only=True)
    retryable: bool = field(default=False, kw_only=True)
    param: str | None = field(default=None, kw_only=True)
    retry_after_s: int | None = field(default=None, kw_only=True)
    kind: str | None = field(default=None, kw_only=True)
    fields: tuple[tuple[bytes, bytes], ...] = field(default=(), kw_only=True)

    def __str__(self) -> str:
        return self.message


_LONGEST = 256


def shortened(text: str) -> str:
    """At most 256 characters of what clients may make as long as they like: lines and errors are kept, and written out."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def model_not_found(model: str, known: list[str]) -> RouterError:
    """No worker of the fleet serves `model`."""
    served = ", ".join(f"`{name}`" for name in known[:20]) or "none yet"
    return RouterError(
        404,
        "model_not_found",
        f"The model `{shortened(model)}` does not exist. Models served here: {served}.",
        source=Source.CLIENT,
        param="model",
    )


def no_worker(detail: str) -> RouterError:
    """Nobody can take the request now; trying again later may help."""
    return RouterError(503, "no_worker_available", detail, retry_after_s=1)


def queue_full(limit: int, retry_after_s: int) -> RouterError:
    """All workers are busy and as many wait as may."""
    return RouterError(
        503,
        "queue_full",
        f"All workers are busy and {limit} requests wait already. Try again later.",
        retry_after_s=retry_after_s,
    )


def waited_too_long(seconds: float, retry_after_s: int) -> RouterError:
    """All workers were busy all the time."""
    return RouterError(
        503,
        "queue_timeout",
        f"All workers were busy for {seconds:g} seconds. Try again later.",
        retry_after_s=retry_after_s,
    )


INTERNAL_ERROR = RouterError(500, "internal_error", "The router failed; its log has the details.")


SHUTTING_DOWN = RouterError(
    503, "router_shutting_down", "The router is shutting down.", retry_after_s=1
)


def unknown_worker(worker: str) -> RouterError:
    """The request is pinned to a worker that is not there."""
    return RouterError(
        400,
        "unknown_worker",
        f"There is no worker {shortened(worker)!r}; GET /workers lists them.",
        source=Source.CLIENT,
        param="x-router-worker",
    )


def model_required(known: list[str]) -> RouterError:
    """Nobody takes a request that names no model."""
    return RouterError(
        400,
        "model_required",
        f"Name a model in `model`: {', '.join(known)}.",
        source=Source.CLIENT,
        param="model",
    )


def no_such_worker(worker: str) -> RouterError:
    """An operator means a worker that is not there."""
    message = f"There is no worker {shortened(worker)!r}; GET /workers lists them."
    return RouterError(404, "unknown_worker", message, source=Source.CLIENT)


def body_too_large(limit: int) -> RouterError:
    """The request's body is over the configured limit."""
    return RouterError(
        413,
        "request_too_large",
        f"The request body is larger than this router accepts ({limit} bytes). "
        "Send a smaller one, or raise `body_limit`.",
        source=Source.CLIENT,
    )


UNREACHABLE = "worker_unreachable"
STALE = "worker_connection_reset"
LOST = "worker_connection_lost"
TIMED_OUT = "worker_timeout"
BAD_RESPONSE = "worker_bad_response"


def connect_failed(worker: str, detail: str) -> RouterError:
    """The worker could not be reached: nothing was sent."""
    return RouterError(
        502,
        UNREACHABLE,
        f"Worker {worker} cannot be reached: {detail}.",
        source=Source.UPSTREAM,
        retryable=True,
    )


OUT_OF_SOCKETS = "router_out_of_sockets"


def out_of_sockets(worker: str, detail: str) -> RouterError:
    """The router has no socket left for a connection: no fault of the worker's."""
    return RouterError(
        503,
        OUT_OF_SOCKETS,
        f"The router cannot open a connection to worker {worker}: {detail}. Raise its limit of open files.",
        retry_after_s=1,
    )


def stale_connection(worker: str) -> RouterError:
    """A kept-alive connection was closed by the worker as the request went out."""
    return RouterError(
        502,
        STALE,
        f"Worker {worker} closed a kept-alive connection before answering.",
        source=Source.UPSTREAM,
        retryable=True,
    )


def worker_lost(worker: str, when: str) -> RouterError:
    """The connection ended early; the worker may have worked on the request."""
    return RouterError(
        502,
        LOST,
        f"Worker {worker} closed the connection {when}. The request may have been processed in part.",
        source=Source.UPSTREAM,
    )


def worker_timeout(worker: str, what: str) -> RouterError:
    """The worker took longer than a limit allows, or is dead; its connection is closed, which ends its work."""
    return RouterError(
        504,
        TIMED_OUT,
        f"Worker {worker} {what}.",
        source=Source.UPSTREAM,
    )


RESUME_FAILED = "resume_failed"
OUT_OF_TIME = "request_timeout"


def cannot_go_on(what: str) -> RouterError:
    """A worker was asked to go on with another one's answer, and cannot."""
    return RouterError(502, RESUME_FAILED, f"The worker {what}.", source=Source.UPSTREAM)


NOBODY_GOES_ON = cannot_go_on(
    "broke its answer off. The answer could not be resumed: there is no other worker"
)


def out_of_time(seconds: float) -> RouterError:
    """The request has taken as long as any may."""
    return RouterError(
        504,
        OUT_OF_TIME,
        f"The answer was not complete {seconds:g} s after the request. Ask for less, or raise `total_timeout_s`.",
        source=Source.UPSTREAM,
    )


def engine_died(what: str) -> RouterError:
    """The worker says itself that it cannot complete its answer."""
    return RouterError(502, LOST, f"The worker {what}.", source=Source.UPSTREAM)


def bad_response(worker: str, detail: str) -> RouterError:
    """The worker's answer is not valid HTTP."""
    return RouterError(
        502,
        BAD_RESPONSE,
        f"Worker {worker} sent an invalid HTTP response: {detail}.",
        source=Source.UPSTREAM,
    )
