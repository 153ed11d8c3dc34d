"""Everything that can be named is listed, with a line on it."""

from router.routing.registry import POLICIES
from router.simulate.generators import GENERATORS
from router.simulate.hardware import PRESETS
from router.simulate.listing import listing


def test_everything_is_there_once_and_described() -> None:
    lines = listing().splitlines()
    entries = [line.split(maxsplit=1) for line in lines if line[:2] == "  " != line[1:3]]
    assert [name for name, _ in entries] == [*GENERATORS, *POLICIES, *PRESETS]
    assert all(len(text) > 10 for _, text in entries)


def test_it_fits_a_terminal() -> None:
    assert max(map(len, listing().splitlines())) <= 100
