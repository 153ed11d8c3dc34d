"""The command line: its options reach the worker, nonsense is refused."""

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner

from router.simworker.__main__ import main


@pytest.mark.parametrize(
    "arguments",
    [["--kv-tokens", "16"], ["--itl-ms", "-1"], ["--max-num-seqs", "0"], ["--port", "x"]],
)
def test_nonsense_is_refused(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "Error" in result.output


def test_help_names_every_default() -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    for default in ("8001", "sim-model", "65536", "4000.0", "8192", "131072"):
        assert default in text


def test_options_reach_the_worker(spawn: Callable[..., Any]) -> None:
    options = {
        "--model": "m",
        "--kv-tokens": "3200",
        "--block-size": "32",
        "--api-key": "k",
        "--kv-events-port": "0",
    }
    worker = spawn(*(text for pair in options.items() for text in pair))
    assert 'block_size="32"' in (text := httpx2.get(f"{worker.url}/metrics").text)
    assert 'num_gpu_blocks="100"' in text
    assert 'model_name="m"' in text
    assert httpx2.get(f"{worker.url}/v1/models").status_code == 401


def test_a_taken_port_is_an_error(spawn: Callable[..., Any]) -> None:
    worker = spawn()
    command = [sys.executable, "-m", "router.simworker", "--port", str(worker.port)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 2
    said = f"Error: 127.0.0.1:{worker.port}: Address already in use; try another --port\n"
    assert result.stderr == said


def test_it_says_that_it_is_up() -> None:
    command = [sys.executable, "-m", "router.simworker", "--port", "0", "--model", "m"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
    assert re.fullmatch(r"simulated worker m on http://127\.0\.0\.1:[1-9]\d*\n", line)
