"""Telling a leak from an allocator's steps."""

import pytest

from bench.dataplane.soak import Outcome, Phase, parse_phases, slope


def test_soak_phases_and_slope() -> None:
    phases = parse_phases("4k:100000,512:10")
    assert phases == [Phase(4000, 100_000), Phase(512, 10)]
    assert slope([5.0]) == 0
    assert slope([1.0, 3.0, 5.0]) == pytest.approx(2)


def test_soak_tells_growth_from_steps() -> None:
    full_then_level = [50.0, 80.0, 90.0, *[100.0] * 20]
    growing = [50.0 + i for i in range(40)]
    phase = Phase(4000, 100_000)
    assert Outcome(phase, full_then_level, 10, 0).flat
    assert not Outcome(phase, growing, 10, 0).flat
    assert Outcome(phase, growing, 10, 0).slope_mb_per_1k == pytest.approx(0.4)
