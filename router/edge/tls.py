"""TLS contexts, and certificates that are read anew when their files change."""

import logging
import ssl
from collections.abc import Iterable, Sequence
from pathlib import Path

from router.config_file import state_of

logger = logging.getLogger(__name__)


class Credentials:
    """A certificate chain (None: none), its key (None: in the same file) and the authorities trusted, as one context has them.

    `refresh` reads them anew when a file has changed. Authorities are only added: what is no longer in the file
    is trusted until the process ends.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        cert: Path | None,
        key: Path | None,
        authorities: Path | None,
    ) -> None:
        """Raises OSError (ssl.SSLError is one) when the files cannot be used."""
        self._context = context
        self._cert, self._key, self._authorities = cert, key, authorities
        self._files = [file for file in (cert, key, authorities) if file is not None]
        self._names = ", ".join(map(str, self._files))
        self._seen = self._signature()
        self._load(context)

    def refresh(self) -> None:
        """Read the files again if they changed; what cannot be used is left until it changes again."""
        seen = self._signature()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._load(
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            )  # a pair that does not fit breaks a context
            self._load(self._context)
        except OSError as error:
            logger.warning("TLS: %s cannot be used, the old ones are kept: %s", self._names, error)
        else:
            logger.info("TLS: %s: read anew", self._names)

    def _load(self, context: ssl.SSLContext) -> None:
        if self._cert is not None:
            context.load_cert_chain(self._cert, self._key, password="")  # never ask for one
        if self._authorities is not None:
            context.load_verify_locations(self._authorities)

    def _signature(self) -> tuple[object, ...]:
        return tuple(map(state_of, self._files))


def server_credentials(
    cert: Path, key: Path, clients: Path | None
) -> tuple[ssl.SSLContext, Sequence[Credentials]]:
    """The context of a listener. With `clients`, the authorities of clients' certificates, these are required."""
    context = _modern(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context, [Credentials(context, cert, key, clients)]


def worker_credentials(
    authorities: Path | None, cert: Path | None, key: Path | None
) -> tuple[ssl.SSLContext, Sequence[Credentials]]:
    """The context of connections to workers; `cert`: what the router shows of itself."""
    context = _modern(ssl.create_default_context(cafile=authorities))
    return context, [Credentials(context, cert, key, authorities)]


def refresh_all(credentials: Iterable[Credentials]) -> None:
    """Read anew what has changed."""
    for each in credentials:
        each.refresh()


def _modern(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
