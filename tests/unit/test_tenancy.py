"""What knows clients by their keys, where they need any."""

from pathlib import Path
from typing import Any

import pytest

from router.access.keys import digest_of, written
from router.config_file import ConfigurationError
from router.fleet.fleet import Fleet
from router.settings import Settings
from router.sharing import sharing
from router.telemetry.metrics import Metrics
from router.tenancy import Tenancy, tenancy


def make(**settings: Any) -> Tenancy:
    made, metrics = Settings(**settings), Metrics()
    fleet = Fleet(None, connect_s=1.0, idle_s=1.0)
    return tenancy(made, fleet, metrics, sharing(made, fleet, metrics))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "tenants.yaml"
    file.write_text(f'tenants: {{acme: {{keys: ["{written(digest_of(b"s1"))}"]}}}}')
    return file


def names(made: Tenancy) -> list[str]:
    """What is to run."""
    found = []
    for name, task in made.tasks():
        found.append(name)
        task.close()
    return found


def test_without_keys_nobody_is_known_and_nothing_runs() -> None:
    made = make()
    assert (made.tenants, made.watch, made.keeper) == (None, None, None)
    assert names(made) == []


def test_keys_alone() -> None:
    made = make(api_keys="acme=s1")
    assert made.tenants is not None
    assert made.tenants.identify({b"api-key": b"s1"}).name == "acme"
    assert names(made) == []


def test_a_file_is_followed(file: Path) -> None:
    made = make(tenants_file=file, api_keys="acme=s2,beta=s3")
    assert made.tenants is not None
    found = [made.tenants.identify({b"api-key": key}).name for key in (b"s1", b"s2", b"s3")]
    assert found == ["acme", "acme", "beta"]
    assert names(made) == ["tenants-file"]


def test_with_a_redis_quotas_are_shared(file: Path) -> None:
    assert names(make(tenants_file=file, redis_url="redis://127.0.0.1:1")) == [
        "tenants-file",
        "quotas",
    ]
    assert names(make(redis_url="redis://127.0.0.1:1")) == []


def test_a_bad_file_is_told_at_once(file: Path) -> None:
    file.write_text("tenants: 5")
    with pytest.raises(ConfigurationError):
        make(tenants_file=file)


def test_a_model_is_unknown_only_once_some_are_known() -> None:
    made = make(api_keys="acme=s1")
    assert made.tenants is not None
    assert made.tenants._served("m"), "no worker has told its models yet"
