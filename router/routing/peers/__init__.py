"""The routing algorithms of other projects, to compare with on one's own traffic.

They are written anew from public descriptions, in terms of what this router knows: read each name with "-like"
behind it. Each docstring names the source and what was simplified. Wherever a project follows its engines'
caches, this router's index takes that place, so that only the decisions differ. What a project matches as text
or tokens is matched in blocks here.
"""

from collections.abc import Callable

from router.routing.peers.affine import aibrix, llmd_affinity, smetric, smg_events
from router.routing.peers.hashed import chwbl, prefix_hash
from router.routing.peers.held import Rule, dynamo_fcfs, dynamo_wspt, llmd_fc
from router.routing.peers.preble import preble
from router.routing.peers.scored import dynamo, llmd, lmetric, lpl, power_of_two
from router.routing.peers.trees import cache_aware, production_stack, ray
from router.routing.policies import Tools
from router.routing.policy import Policy

PEERS: dict[str, Callable[[Tools], Policy]] = {
    "lmetric": lmetric,
    "lpl": lpl,
    "dynamo": dynamo,
    "llmd": llmd,
    "llmd_affinity": llmd_affinity,
    "smg_events": smg_events,
    "smetric": smetric,
    "preble": preble,
    "aibrix": aibrix,
    "cache_aware": cache_aware,
    "production_stack": production_stack,
    "ray": ray,
    "chwbl": chwbl,
    "prefix_hash": prefix_hash,
    "power_of_two": power_of_two,
}
"""Those that send at once."""

HELD: dict[str, Callable[[Tools], Rule]] = {
    "dynamo_fcfs": dynamo_fcfs,
    "dynamo_wspt": dynamo_wspt,
    "llmd_fc": llmd_fc,
}
"""Those that let requests wait (see `peers.held.Gate`)."""
