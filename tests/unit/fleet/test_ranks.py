"""Which workers a client's own rank leaves, and what a request is told."""

import pytest

from router.engines.base import WorkerReport
from router.fleet.ranks import RANK, honouring, rank_header
from router.fleet.worker import Worker
from tests.unit.support import fleet_of


def workers(**ranks: int) -> list[Worker]:
    """All workers of servers with so many ranks each."""
    fleet = fleet_of(*ranks)
    for worker in fleet.processes():
        fleet.set_report(worker, WorkerReport({"m": {}}, ranks=ranks[worker.id[0]]))
    return list(fleet)


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        (None, "a:8000 a:8000#1 a:8000#2 b:8000 c:8000 c:8000#1"),
        (b"0", "a:8000 b:8000 c:8000"),
        (b" 1 ", "a:8000#1 b:8000 c:8000#1"),
        (b"2", "a:8000#2 b:8000"),
        (b"3", "b:8000"),
        (b"-1", "b:8000"),
        (b"", "a:8000 a:8000#1 a:8000#2 b:8000 c:8000 c:8000#1"),
        (b"one", "a:8000 a:8000#1 a:8000#2 b:8000 c:8000 c:8000#1"),
        (b"1.0", "a:8000 a:8000#1 a:8000#2 b:8000 c:8000 c:8000#1"),
        (b"\xff", "a:8000 a:8000#1 a:8000#2 b:8000 c:8000 c:8000#1"),
        (b"9" * 5000, "a:8000 a:8000#1 a:8000#2 b:8000 c:8000 c:8000#1"),
    ],
)
def test_a_client_s_rank_is_that_of_who_has_several(wanted: bytes | None, left: str) -> None:
    found = honouring(workers(a=3, b=1, c=2), wanted)
    assert " ".join(worker.id for worker in found) == left


def test_a_rank_that_nobody_has_is_for_the_worker_to_refuse() -> None:
    every = workers(a=2, b=2)
    assert honouring(every, b"7") == every


@pytest.mark.parametrize(
    ("ranks", "wanted", "added"),
    [
        (1, None, [[]]),
        (1, b"1", [[]]),
        (2, None, [[(RANK, b"0")], [(RANK, b"1")]]),
        (2, b"1", [[], []]),
        (2, b"x", [[], []]),
    ],
)
def test_a_request_is_told_its_rank_unless_the_client_said_one(
    ranks: int, wanted: bytes | None, added: list[list[tuple[bytes, bytes]]]
) -> None:
    assert [rank_header(worker, wanted) for worker in workers(a=ranks)] == added
