"""Where and how clients are served."""

from typing import Literal

from pydantic import BaseModel, Field

from router.setting_types import ReadableFile


class ServingSettings(BaseModel):
    """Where and how clients are served."""

    host: str = Field(default="0.0.0.0", description="Address to listen on.")  # noqa: S104
    port: int = Field(
        default=8080, ge=0, le=65535, description="Port to listen on; 0 picks a free one."
    )
    allow_paths: list[str] = Field(
        default=[], description="Further worker paths to pass on, as patterns: `/v2/*`."
    )
    body_limit: int = Field(
        default=64 * 1024 * 1024,
        gt=0,
        description="Largest request body, bytes; a larger one gets 413.",
    )
    keep_alive_s: float = Field(
        default=75.0,
        gt=0,
        description="How long an idle client connection is kept, and an upload waited for that stalls.",
    )
    tls_cert_file: ReadableFile | None = Field(
        default=None, description="Serve https with this certificate chain …"
    )
    tls_key_file: ReadableFile | None = Field(default=None, description="… and this key.")
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="`auto`: text on a terminal, JSON otherwise."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Threshold of the process's own log."
    )
    shutdown_timeout_s: float = Field(
        default=30.0, gt=0, description="After SIGTERM, running answers may take this long to end."
    )
