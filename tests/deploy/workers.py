"""Simulated workers as processes."""

import subprocess
import sys
from urllib.parse import urlsplit

from tests.fakes.ports import free_ports

CHAT, OTHER = "org/chat-model", "other-model"


class Workers:
    """Simulated workers as processes, which publish KV events."""

    def __init__(self, *models: str) -> None:
        count = len(models)
        ports = free_ports(3 * count)
        self.urls = [f"http://127.0.0.1:{port}" for port in ports[:count]]
        self.processes = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "router.simworker"),
                    *("--port", str(ports[place]), "--model", model),
                    *("--kv-events-port", str(ports[count + 2 * place])),
                    *("--kv-tokens", "12000", "--itl-ms", "15"),
                ]
            )
            for place, model in enumerate(models)
        ]

    def kill(self, place: int) -> None:
        """One is gone, without a word."""
        self.processes[place].kill()

    @staticmethod
    def id(url: str) -> str:
        """What routers call it."""
        return urlsplit(url).netloc

    def close(self) -> None:
        """All are gone on return."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
