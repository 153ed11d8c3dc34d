"""What beside its tokens a prompt is cached by."""

from typing import Any

import pytest

from router.tokens.extras import Adapter, Extras, extras_of
from router.tokens.prompt import Inexact
from tests.unit.support import chat, request


def test_a_models_card_tells_an_adapter() -> None:
    card = {"id": "alpha", "root": "/adapters/alpha", "parent": "base", "max_model_len": None}
    assert Adapter.of(card) == Adapter("alpha", "base")
    assert Adapter.of({"id": "base", "root": "/models/base", "parent": None}) is None
    assert Adapter.of(None) is None


def test_extras_are_the_adapter_and_the_salt() -> None:
    asked = request(chat("hi", cache_salt="s"))
    assert extras_of(asked, Adapter("alpha", "base")) == Extras("alpha", "s")
    assert extras_of(request(chat("hi", cache_salt=None)), None) == Extras()
    assert extras_of(request(chat("hi")), None) == Extras()


@pytest.mark.parametrize("salt", ["", 5, ["s"]])
def test_a_salt_that_the_worker_refuses_is_refused(salt: Any) -> None:
    with pytest.raises(Inexact):
        extras_of(request(chat("hi", cache_salt=salt)), None)
