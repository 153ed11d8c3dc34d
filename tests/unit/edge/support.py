"""What tests of the edge have in common."""

from collections import defaultdict
from typing import Any

from router.edge.cors import Cors
from router.edge.exchange import EdgeServices, RequestIds, Routes
from router.edge.limits import BodyMemory, Drain, Limits


def edge_services(
    gateway: Any,
    routes: Routes,
    *,
    body_bytes: int = 1000,
    bodies: BodyMemory | None = None,
    cors: Cors | None = None,
) -> EdgeServices:
    """Services with these limits."""
    return EdgeServices(
        gateway,
        routes,
        RequestIds(),
        Limits(body_bytes=body_bytes),
        bodies or BodyMemory(),
        Drain(),
        defaultdict(int),
        cors,
    )
