"""What there is to choose from."""

from router.sizing.gpus import GPUS, INSTANCES, LINKS
from router.sizing.listing import listing


def test_all_is_listed() -> None:
    words = listing().split()
    assert {*GPUS, *INSTANCES, *LINKS, "mxfp4"} <= set(words)


def test_a_rate_that_there_is_not_is_a_dash() -> None:
    (line,) = (each for each in listing().splitlines() if each.startswith("  a10g "))
    assert line.split() == ["a10g", "22.1", "600", "70", "-", "-", "pcie4", "pcie4"]
