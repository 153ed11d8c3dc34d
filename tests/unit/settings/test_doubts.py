"""What a configuration may say and hardly means."""

from pathlib import Path

import pytest

from router.settings import Settings
from router.settings.doubts import doubts


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("http://gpu-1:8000/v1", "http://gpu-1:8000"),
        ("http://gpu-1:8000/v1/", "http://gpu-1:8000"),
        ("http://gpu-1:8000/team/v1/chat/completions", "http://gpu-1:8000/team"),
    ],
)
def test_a_worker_s_url_with_what_belongs_to_clients(url: str, meant: str) -> None:
    assert [*doubts(Settings(workers=[url]))] == [
        f"workers: {url}: a worker's URL ends before its /v1: {meant}"
    ]


@pytest.mark.parametrize("url", ["http://gpu-1:8000", "http://v1:8000/v10/", "http://a:1/v1x"])
def test_an_url_that_is_as_it_should_be(url: str) -> None:
    assert [*doubts(Settings(workers=[url]))] == []


def test_a_file_of_workers_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "workers.yaml"
    settings = Settings(workers_file=file)
    assert [*doubts(settings)] == [
        f"workers_file: {file} is not there; it has no workers until it is"
    ]
    file.write_text("[]")
    assert [*doubts(settings)] == []


def test_nobody_to_ask() -> None:
    assert [*doubts(Settings())] == ["no workers are configured"]
