"""Where standard error is no terminal there are lines, and no bar."""

import pytest

from router.simulate.progress import Ticker


def test_only_what_is_said_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with Ticker() as ticker:
        ticker.begin("finding")
        ticker.advance()
        ticker.say("load [1.0] = 2x " + 30 * "word ")
        ticker.begin("simulating", 2)
        ticker.advance()
    out, err = capsys.readouterr()
    assert not ticker.visible
    assert out == ""
    assert err == "load [1.0] = 2x " + 30 * "word " + "\n"


def test_others_can_write_beside_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Ticker() as ticker:
        ticker.begin("simulating", 7)
        with ticker.aside():
            print("a table")  # noqa: T201 - not through the bar
        ticker.advance()
    out, err = capsys.readouterr()
    assert out == "a table\n"
    assert "1/7" in err


def test_a_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Ticker() as ticker:
        ticker.begin("simulating", 7)
        ticker.advance()
    out, err = capsys.readouterr()
    assert ticker.visible
    assert out == ""
    assert "simulating" in err
    assert "1/7" in err
