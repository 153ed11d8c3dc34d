"""A self-signed certificate for loopback, made by the `openssl` command."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files of a certificate that is its own authority."""

    cert: Path
    key: Path

    def server(self) -> ssl.SSLContext:
        """For the side that presents it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        return context

    def client(self) -> ssl.SSLContext:
        """For the side that trusts it."""
        return ssl.create_default_context(cafile=self.cert)


def make_certificate(folder: Path, openssl: str) -> Certificate:
    """Make one for 127.0.0.1, ::1 and localhost; raises CalledProcessError when `openssl` fails."""
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    subprocess.run(
        [
            openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost",
            "-keyout", str(made.key), "-out", str(made.cert),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return made
