"""How each router under test is started, by name."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DIRECT = "direct"  # no router: what workers and load generator can do by themselves
METRICS_PORT = 90  # above the router's own
BASELINES = ("vllm-router/round_robin", "nginx")

_NGINX = """\
worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log {dir}/nginx.err warn;
events {{ worker_connections 16384; }}
http {{
  access_log off; client_max_body_size 64m; client_body_buffer_size 1m; keepalive_requests 100000000;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  upstream workers {{ {servers} keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://workers; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 300s;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a router listens, what it serves, and where it is found."""

    port: int
    workers: tuple[int, ...]
    scratch: Path  # for configuration files
    ours: str  # command of our router, up to and without `serve`
    ours_flags: str
    peers: Path  # folder with the virtual environments that setup_peers.sh makes

    @property
    def urls(self) -> list[str]:
        """The workers' addresses."""
        return [f"http://127.0.0.1:{port}" for port in self.workers]


Command = Callable[[Setting], list[str] | None]


def _ours(*flags: str) -> Command:
    def command(s: Setting) -> list[str]:
        workers = [part for url in s.urls for part in ("--worker", url)]
        listen = ["--host", "127.0.0.1", "--port", str(s.port)]
        return [
            *shlex.split(s.ours),
            "serve",
            *listen,
            *workers,
            *flags,
            *shlex.split(s.ours_flags),
        ]

    return command


def _nginx(s: Setting) -> list[str] | None:
    binary = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if not binary:
        return None
    servers = " ".join(f"server 127.0.0.1:{port};" for port in s.workers)
    config = s.scratch / "nginx.conf"
    config.write_text(_NGINX.format(dir=s.scratch, servers=servers, port=s.port))
    return [binary, "-c", str(config)]


def _rust(venv: str, program: str, policy: str) -> Command:
    """vllm-router and smg are siblings: one set of flags but for the verb and a log level's name."""
    verb, level = ([], "warning") if venv == "vr" else (["launch"], "warn")

    def command(s: Setting) -> list[str] | None:
        binary = s.peers / venv / "bin" / program
        if not binary.exists():
            return None
        return [
            str(binary), *verb, "--host", "127.0.0.1", "--port", str(s.port),
            "--worker-urls", *s.urls, "--policy", policy, "--max-concurrent-requests", "20000",
            "--prometheus-host", "127.0.0.1", "--prometheus-port", str(s.port + METRICS_PORT),
            "--log-level", level,
        ]  # fmt: skip

    return command


# A command that answers None is not installed. Ours logs a line per request, as it does by default;
# the peers are told to log only warnings.
ROUTERS: dict[str, Command] = {
    "ours": _ours(),
    "ours/round_robin": _ours("--policy", "round_robin"),
    "nginx": _nginx,
    "vllm-router/round_robin": _rust("vr", "vllm-router", "round_robin"),
    "vllm-router/cache_aware": _rust("vr", "vllm-router", "cache_aware"),
    "smg/round_robin": _rust("smg", "smg", "round_robin"),
    "smg/cache_aware": _rust("smg", "smg", "cache_aware"),
}
