"""Places in the cluster as workers."""

import pytest

from router.discovery.kubernetes.annotations import Notes
from router.discovery.kubernetes.places import Found, Place, family
from router.fleet.target import Role, Target


def target(place: Place, notes: Notes) -> Target:
    found = Found()
    place.add(found, notes)
    assert found.wrong == {}
    (only,) = found.targets
    return only


def test_plain() -> None:
    assert target(Place(host="10.0.0.1", port=8000, name="a/b"), Notes()) == Target(
        url="http://10.0.0.1:8000", name="a/b"
    )


def test_annotated() -> None:
    notes = Notes(port=9000, scheme="https", path="/v2", role=Role.DECODE, drain=True)
    place = Place(host="fd00::1", port=8000, server_name="vllm.a.svc")
    assert target(place, notes) == Target(
        url="https://[fd00::1]:9000/v2",
        role=Role.DECODE,
        drained=True,
        server_name="vllm.a.svc",
    )
    assert target(place, Notes(scheme="https", server_name="x.example")).server_name == "x.example"
    assert target(place, Notes()).server_name == ""


def test_what_is_no_address() -> None:
    found = Found()
    Place(host="a..b", port=8000, where="endpoint a..b").add(found, Notes())
    assert found.targets == []
    assert "it is left out" in found.wrong["endpoint a..b"]


@pytest.mark.parametrize(
    ("address", "version"), [("10.0.0.1", 4), ("fd00::1", 6), ("a.example", None), ("", None)]
)
def test_family(address: str, version: int | None) -> None:
    assert family(address) == version
