"""No socket of a lookup is left open, under either event loop."""

import asyncio
import os
from collections.abc import Callable

import pytest
import uvloop

from router.discovery.records import Records
from tests.fakes.dns_server import dns_server


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # as an error it keeps uvloop from closing
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("count", [1, 100], ids=["udp", "tcp"])
def test_whenever_it_is_cancelled(
    loop: Callable[[], asyncio.AbstractEventLoop], count: int
) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(_cancelled_in_every_turn(count))


async def _cancelled_in_every_turn(count: int) -> None:
    async with dns_server() as server:
        server.records["v.test", "A"] = [f"10.0.0.{number}" for number in range(count)]
        records = Records([("127.0.0.1", server.port)])
        assert len((await records.addresses("v.test", "auto"))[0]) == count
        await asyncio.sleep(0.05)
        before = len(os.listdir("/proc/self/fd"))
        for turns in range(60):
            task = asyncio.get_running_loop().create_task(records.addresses("v.test", "auto"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task}, timeout=30)
            assert task.done()
        for _ in range(500):  # closing takes a turn or two
            if len(os.listdir("/proc/self/fd")) <= before:
                break
            await asyncio.sleep(0.01)
        assert len(os.listdir("/proc/self/fd")) <= before
