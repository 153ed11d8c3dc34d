"""A worker's URL."""

import pytest

from router.fleet.target import worker_url


@pytest.mark.parametrize("url", ["http://a:8000", "a:1", "https://a/base", "http://[::1]:8000"])
def test_it_can_be_a_worker_s(url: str) -> None:
    assert worker_url(url) == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://a:0", "port 0"),
        ("ftp://a", "scheme"),
        ("http://", "no host"),
        ("http://a?x", "query"),
    ],
)
def test_it_cannot(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        worker_url(url)
