"""Prompts before they are tokens."""

from array import array

import pytest

from router.tokens.prompt import Inexact, Reason, Side, Truncation


@pytest.mark.parametrize(
    ("limit", "side", "kept"),
    [
        (2, None, [3, 4]),
        (2, "left", [3, 4]),
        (2, "right", [1, 2]),
        (4, "left", [1, 2, 3, 4]),
        (9, "left", [1, 2, 3, 4]),
        (9, "right", [1, 2, 3, 4]),
    ],
)
def test_a_truncation_names_the_side_it_cuts_from(
    limit: int, side: Side | None, kept: list[int]
) -> None:
    assert list(Truncation(limit, side).cut(array("I", [1, 2, 3, 4]))) == kept


def test_what_is_inexact_says_why() -> None:
    assert str(Inexact(Reason.MEDIA, "an image")) == "tokens_media: an image"
    assert str(Inexact(Reason.BUSY)) == "tokens_busy"
