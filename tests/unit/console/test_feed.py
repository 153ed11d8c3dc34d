"""Rows of requests."""

from router.console.feed import COLUMNS, Feed, row
from router.telemetry.logs import RequestLine
from tests.unit.console.lines import line


def test_a_row_has_all_that_the_log_line_has() -> None:
    assert {*COLUMNS, "event"} == set(RequestLine.__struct_fields__)
    assert dict(zip(COLUMNS, row(line()), strict=True))["cached_tokens"] == 50


def test_the_last_ones_are_kept() -> None:
    feed = Feed(limit=3)
    feed.add([line(request_id=str(number)) for number in range(5)])
    place = COLUMNS.index("request_id")
    assert [each[place] for each in feed.rows()] == ["2", "3", "4"]


def test_what_others_wrote_is_cut() -> None:
    found = row(line(model="x" * 1000))[COLUMNS.index("model")]
    assert isinstance(found, str)
    assert (len(found), found[-2:]) == (300, "x…")
