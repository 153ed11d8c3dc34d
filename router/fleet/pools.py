"""Makes workers' connection pools."""

import ssl

from router.fleet.target import Target
from router.upstream.pool import Address, Pool


class Pools:
    """`tls`: what trusts workers' certificates; managed services are trusted as the system does."""

    def __init__(self, tls: ssl.SSLContext | None, *, connect_s: float, idle_s: float) -> None:
        self._tls = tls
        self._connect_s = connect_s
        self._idle_s = idle_s

    def of(self, target: Target, address: Address) -> Pool:
        """For one server."""
        public = target.service is not None and address.tls
        return Pool(
            address,
            ssl.create_default_context() if public else self._tls,
            connect_s=self._connect_s,
            idle_s=self._idle_s,
            server_name=target.server_name,
        )
