"""Who is known, by which key, and what goes on to workers."""

from time import perf_counter
from typing import ClassVar

import pytest

from router.access.keys import digest_of
from router.access.tenants import Tenants
from router.access.terms import Terms
from router.errors import RouterError
from router.ids import Headers


def terms(*keys: bytes, **rest: object) -> Terms:
    return Terms(keys=frozenset(map(digest_of, keys)), **rest)  # type: ignore[arg-type]


@pytest.fixture
def tenants() -> Tenants:
    tenants = Tenants("worker-key")
    tenants.agree({"acme": terms(b"a1", b"a2"), "beta": terms(b"b1", max_inflight=5)})
    return tenants


def name(tenants: Tenants, key: bytes) -> str | int:
    """Whose it is, else the status of the refusal."""
    try:
        return tenants.identify({b"authorization": b"Bearer " + key}).name
    except RouterError as error:
        return error.status


class TestIdentify:
    def test_each_key_is_somebody_s(self, tenants: Tenants) -> None:
        assert [name(tenants, key) for key in (b"a1", b"a2", b"b1")] == ["acme", "acme", "beta"]

    @pytest.mark.parametrize("key", [b"", b"x", b"A1", b"a1 x", digest_of(b"a1"), b"\xff", b"acme"])
    def test_others_are_nobody_s(self, tenants: Tenants, key: bytes) -> None:
        assert name(tenants, key) == 401

    def test_none_and_a_wrong_one_are_told_apart(self, tenants: Tenants) -> None:
        with pytest.raises(RouterError, match="didn't provide"):
            tenants.identify({b"host": b"x"})
        with pytest.raises(RouterError, match="Incorrect"):
            tenants.identify({b"x-api-key": b"sk-other"})

    def test_a_good_key_among_bad_ones_will_do(self, tenants: Tenants) -> None:
        """Clients' libraries send a placeholder in one field when the key is in the other."""
        fields = {b"authorization": b"Bearer -", b"x-api-key": b"b1"}
        assert tenants.identify(fields).name == "beta"

    def test_without_tenants_nobody_gets_in(self) -> None:
        assert name(Tenants(), b"a1") == 401


class TestAgree:
    def test_keys_come_and_go(self, tenants: Tenants) -> None:
        tenants.agree({"acme": terms(b"a2", b"a3"), "beta": terms()})
        found = [name(tenants, key) for key in (b"a1", b"a2", b"a3", b"b1")]
        assert found == [401, "acme", "acme", 401]

    def test_who_stays_goes_on_with_what_was_spent(self, tenants: Tenants) -> None:
        beta = tenants.identify({b"x-api-key": b"b1"})
        beta.admit("m", perf_counter(), runs=True)
        tenants.agree({"beta": terms(b"b2", max_inflight=1)})
        assert tenants.identify({b"x-api-key": b"b2"}) is beta
        with pytest.raises(RouterError, match="1 requests at a time"):
            beta.admit("m", perf_counter(), runs=True)

    def test_who_comes_back_too(self, tenants: Tenants) -> None:
        beta = tenants.identify({b"x-api-key": b"b1"})
        tenants.agree({})
        assert name(tenants, b"b1") == 401
        assert beta in tenants.all()
        assert len(tenants) == 0
        tenants.agree({"beta": terms(b"b1")})
        assert tenants.identify({b"x-api-key": b"b1"}) is beta

    def test_metrics_are_of_those_there_are(self, tenants: Tenants) -> None:
        beta = tenants.identify({b"x-api-key": b"b1"})
        beta.outcomes["ok"] += 2
        beta.prompt_tokens = 7
        beta.limited["tokens"] += 1
        samples = {sample.tenant: sample for sample in tenants.samples()}
        assert samples["beta"][1:] == ({"ok": 2}, {"prompt": 7, "completion": 0}, {"tokens": 1})
        assert samples["acme"].outcomes == {}
        tenants.agree({"acme": terms()})
        assert [sample.tenant for sample in tenants.samples()] == ["acme"]


class TestOnward:
    FIELDS: ClassVar[Headers] = [
        (b"host", b"h"),
        (b"authorization", b"Bearer a1"),
        (b"x-api-key", b"a1"),
        (b"Accept", b"*/*"),
        (b"api-key", b"a1"),
        (b"authorization", b"Bearer again"),
    ]

    def test_the_worker_s_key_in_place_of_the_client_s(self, tenants: Tenants) -> None:
        acme = tenants.identify({b"x-api-key": b"a1"})
        assert tenants.onward(self.FIELDS, dict(self.FIELDS), acme) == [
            (b"host", b"h"),
            (b"Accept", b"*/*"),
            (b"authorization", b"Bearer worker-key"),
        ]

    def test_not_for_who_did_not_show_one(self, tenants: Tenants) -> None:
        assert tenants.onward(self.FIELDS, dict(self.FIELDS), None) == [
            (b"host", b"h"),
            (b"Accept", b"*/*"),
        ]

    def test_workers_may_need_none(self) -> None:
        tenants = Tenants()
        tenants.agree({"acme": terms(b"a1")})
        acme = tenants.identify({b"x-api-key": b"a1"})
        assert tenants.onward(self.FIELDS, dict(self.FIELDS), acme) == [
            (b"host", b"h"),
            (b"Accept", b"*/*"),
        ]

    def test_a_client_cannot_have_it_taken_out_again(self, tenants: Tenants) -> None:
        acme = tenants.identify({b"x-api-key": b"a1"})
        fields = [(b"connection", b"keep-alive, Authorization, x-mine"), (b"x-mine", b"1")]
        assert tenants.onward(fields, dict(fields), acme) == [
            (b"authorization", b"Bearer worker-key")
        ]
        usual = [(b"connection", b"keep-alive")]
        assert tenants.onward(usual, dict(usual), None) == [], "of one connection only"


def test_nothing_of_a_key_shows(tenants: Tenants) -> None:
    shown = repr(tenants) + repr(tenants.all()) + repr([tenant.terms for tenant in tenants.all()])
    assert "worker-key" not in shown
    assert digest_of(b"a1").hex() not in shown
    assert repr(digest_of(b"a1")) not in shown
