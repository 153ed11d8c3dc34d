"""Which worker is asked to tokenize."""

import msgspec
import pytest

from router.errors import RouterError
from router.fleet.target import Service, Target
from router.fleet.tokenizer import WorkerTokenizer
from tests.fakes.worker import FakeWorker
from tests.unit.support import fleet_of

QUESTION = msgspec.json.encode({"model": "m", "prompt": "secret words"})


async def test_a_service_that_stands_in_is_never_asked() -> None:
    """It would be sent the prompt, with a key that is another's."""
    async with FakeWorker() as service:
        fleet = fleet_of()
        fleet.set_targets([Target(url=service.url, service=Service({"m": "m"}, "key"))])
        ask = WorkerTokenizer(fleet, "worker-key")
        with pytest.raises(RouterError, match="no worker"):
            await ask(QUESTION)
        assert service.requests == service.probes == []


async def test_nobody_is_asked_for_a_while_after_a_failure() -> None:
    fleet = fleet_of("127.0.0.1")
    fleet.set_workers(["http://127.0.0.1:9"])
    (worker,) = fleet
    fleet.set_report(worker, fleet_of("a").processes()[0].report)
    ask = WorkerTokenizer(fleet, None)
    with pytest.raises(RouterError, match="cannot be reached"):
        await ask(QUESTION)
    with pytest.raises(RouterError, match="a moment ago"):
        await ask(QUESTION)
