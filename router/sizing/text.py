"""Figures in words for people (pure)."""

from router.sizing.gpus import GIB


def gib(value: float) -> str:
    """Bytes in GiB."""
    return f"{value / GIB:,.1f} GiB"


def small(value: float) -> str:
    """Bytes in the unit that suits them."""
    if value >= GIB:
        return gib(value)
    if value >= 2**20:
        return f"{value / 2**20:,.4g} MiB"
    return f"{value / 1024:,.4g} KiB" if value >= 1024 else f"{value:,.0f} B"


def billions(value: float) -> str:
    """Parameters."""
    return f"{value / 1e9:,.2f} B"


def seconds(value: float) -> str:
    """In ms below one second; three digits at most that mean something."""
    if value < 1:
        return f"{1e3 * value:.3g} ms"
    return f"{value:.3g} s" if value < 1000 else f"{value:,.0f} s"


def rounded(value: float) -> str:
    """A count that is an estimate: three digits."""
    digits = max(0, len(str(int(value))) - 3)
    return f"{int(round(value / 10**digits) * 10**digits):,}"


def rate(value: float) -> str:
    """Per second."""
    return rounded(value) if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.3g}"


def share(value: float) -> str:
    """In percent."""
    return f"{100 * value:.0f} %"
