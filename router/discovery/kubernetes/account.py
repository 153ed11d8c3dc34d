"""The cluster's API server, and what the router shows it: a token that is replaced while the router runs."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from router.config_file import ConfigurationError
from router.upstream.pool import Address

_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_STRICT = getattr(ssl, "VERIFY_X509_STRICT", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where the API server is and how it is spoken to. Files are read whenever they are needed: kubelet replaces the token
    every hour. Without a token file the router is anonymous; the token is shown over TLS only. Without a CA file the
    system's authorities are trusted.
    """

    address: Address
    token_file: Path = _FOLDER / "token"
    ca_file: Path = _FOLDER / "ca.crt"

    @classmethod
    def find(
        cls,
        api: str | None = None,
        *,
        host: str | None = None,
        port: str | None = None,
        token_file: Path = _FOLDER / "token",
        ca_file: Path = _FOLDER / "ca.crt",
    ) -> "Account":
        """That of the server at the URL `api`, else at `host` and `port`, which are KUBERNETES_SERVICE_HOST and _PORT.
        Raises `ConfigurationError`: there is none.
        """
        if api is None and not host:
            raise ConfigurationError(
                [
                    "kubernetes_api: the router does not run in a cluster (KUBERNETES_SERVICE_HOST is not set): "
                    "say where the API server is, as https://10.0.0.1:6443"
                ]
            )
        if api is None:
            shown = f"[{host}]" if host and ":" in host and not host.startswith("[") else host
            api = f"https://{shown}:{port or 443}"
        try:
            address = Address.parse(api)
        except ValueError as error:
            raise ConfigurationError([f"kubernetes_api: {error}"]) from None
        return cls(address=address, token_file=token_file, ca_file=ca_file)

    def token(self) -> str | None:
        """The token as it is now. Raises OSError, or ValueError: what the file has is no token."""
        if not self.address.tls:
            return None
        try:
            token = self.token_file.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None
        if not (token and token.isascii() and token.isprintable()) or " " in token:
            raise ValueError(f"{self.token_file} has no token")
        return token

    def namespace(self) -> str | None:
        """The router's own namespace, which is in a file beside the token; None: it does not run in a cluster."""
        try:
            return (
                self.token_file.with_name("namespace").read_text(encoding="utf-8").strip() or None
            )
        except OSError:
            return None

    def tls(self) -> ssl.SSLContext | None:
        """Trusts whom the CA file names now. Raises OSError, or ValueError: the file names nobody."""
        if not self.address.tls:
            return None
        authorities = self.ca_file if self.ca_file.exists() else None
        try:
            context = ssl.create_default_context(cafile=authorities)
        except ssl.SSLError:
            raise ValueError(f"{authorities} has no certificates of authorities") from None
        # Authorities of older clusters lack extensions that Python demands since 3.13; kubectl does not mind.
        context.verify_flags &= ~ssl.VerifyFlags(_STRICT)
        return context
