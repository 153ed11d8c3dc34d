"""How a router is asked to stop."""

import pytest

from router.edge.limits import Drain


@pytest.mark.parametrize("graceful", [True, False])
def test_first_and_second_time(graceful: bool) -> None:
    drain = Drain()
    assert not drain.active
    drain.ask(graceful=graceful)
    assert (drain.active, drain.graceful, drain.at_once) == (True, graceful, False)
    drain.ask(graceful=True)
    assert (drain.graceful, drain.at_once) == (graceful, True)
