"""Figures in words."""

import pytest

from router.sizing import text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (9, "9"),
        (999, "999"),
        (1234, "1,230"),
        (199_400, "199,000"),
        (999_999, "1,000,000"),
    ],
)
def test_estimates_have_three_digits(value: float, shown: str) -> None:
    assert text.rounded(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0593, "59.3 ms"),
        (0.022, "22 ms"),
        (1.04, "1.04 s"),
        (12.345, "12.3 s"),
        (1234.5, "1,234 s"),
    ],
)
def test_seconds(value: float, shown: str) -> None:
    assert text.seconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.123, "0.12"), (3.44, "3.4"), (34.44, "34.4"), (3444.0, "3,440")]
)
def test_rates(value: float, shown: str) -> None:
    assert text.rate(value) == shown


def test_bytes_and_shares() -> None:
    assert text.gib(1.5 * 2**30) == "1.5 GiB"
    assert text.small(131_072) == "128 KiB"
    assert text.small(576) == "576 B"
    assert text.small(73.6875 * 2**20) == "73.69 MiB"
    assert text.billions(8_030_261_248) == "8.03 B"
    assert text.share(0.604) == "60 %"
