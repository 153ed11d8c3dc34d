"""What is taken as it stands, and probably not meant."""

from collections.abc import Iterator

from router.settings import Settings


def doubts(settings: Settings) -> Iterator[str]:
    """A sentence on each, for people."""
    if not settings.finds_workers:
        yield "no workers are configured"
    for url in settings.workers:
        before, found, _ = f"{url}/".partition("/v1/")
        if found:
            yield f"workers: {url}: a worker's URL ends before its /v1: {before}"
    if settings.workers_file is not None and not settings.workers_file.is_file():
        yield f"workers_file: {settings.workers_file} is not there; it has no workers until it is"
