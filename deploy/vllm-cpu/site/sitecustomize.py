"""Makes vLLM's processes sleep between polls; every Python process of a worker loads it.

vLLM's EngineCore and Worker wait for each other by polling with os.sched_yield(). On a machine
with few cores the two spinning processes starve everything beside them for seconds.
ENGINE_POLL_US is the pause in microseconds; 0 or unset leaves vLLM as it is.
"""

import os
import time

_pause_s = float(os.environ.get("ENGINE_POLL_US") or 0) / 1e6
if _pause_s > 0:
    os.sched_yield = lambda: time.sleep(_pause_s)
