"""docs/quickstart.md is done, command by command, and prints the like of what it shows."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.ports import free_ports
from tests.fakes.prometheus import binary

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/quickstart.md").read_text(encoding="utf-8")
LIMIT_S = 100.0
AFTERWARDS = r"status=$?; printf '\n===== %s\n' $status; [ $status = 0 ] || exit"
"""What the shell does after each block."""
PORTS = ("8001", "8002", "8003", "8080", "9090")
"""As the document has them; the tests take free ones."""

NOT_TESTED = {
    "git clone",  # tests/e2e and the demo's own tests have it
    ". .venv/bin/activate\nmkdir",
    "pip install openai",
    "cd .. && rm",
    "make demo ENGINE=vllm",  # minutes
    "sed 's/sim-model",  # needs the former
}
"""How blocks begin that say why they are not run; a test sees that there are no others."""


@dataclass(frozen=True, slots=True)
class Step:
    """A block of commands, what is shown of its output, and what is said of testing it in a comment before."""

    title: str
    commands: str
    shown: str | None
    remark: str

    @property
    def is_tested(self) -> bool:
        return not self.remark.startswith("not tested: ")

    @property
    def needs(self) -> str | None:
        """A program without which it cannot run."""
        return self.remark.removeprefix("needs: ") if self.remark.startswith("needs: ") else None


BLOCK = re.compile(
    r"(?:^<!-- (?P<remark>.*?) -->\n)?^```sh\n(?P<commands>.*?)^```(?=\n(?:\n```text\n(?P<shown>.*?)^```)?)",
    re.MULTILINE | re.DOTALL,
)


def steps() -> list[Step]:
    found = []
    for match in BLOCK.finditer(TEXT):
        titles = re.findall(r"^## (.*)$", TEXT[: match.start()], re.MULTILINE)
        remark = match["remark"] or ""
        found.append(Step(titles[-1], match["commands"], match["shown"], remark))
    return found


STEPS = steps()
TESTED = [step for step in STEPS if step.is_tested]
NAMES = [f"{step.title}: {step.commands.splitlines()[0][:40]}" for step in TESTED]


VARIES = re.compile(
    r"(…|127\.0\.0\.1:\d+|\b[0-9a-f]{16,}\b|(?<![\w.])\d(?:[\d,.]*\d)?%?(?!\w)|(?<!\S)-(?!\S))"
)
"""What is other each time: anything, an address, an id, a number (or `-`, where there is none yet)."""
PATTERNS = ((r"…", r".*"), (r"127.*:.*", r"127\.0\.0\.1:\d+"), (r"[0-9a-f]{16,}", r"[0-9a-f]+"))
NUMBER = r"(?:[\d,.]*\d%?|-)"


def shape(shown: str) -> str:
    """A pattern of outputs that are alike; a line of `…` stands for any number of lines."""
    return "".join(
        r"(?:.*\n)*?" if line == "…" else line_shape(" ".join(line.split())) + r"\n"
        for line in shown.rstrip().splitlines()
    )


def line_shape(line: str) -> str:
    """The same of a line."""
    fixed, *rest = VARIES.split(line)
    pattern = re.escape(fixed)
    for varied, then in zip(rest[::2], rest[1::2], strict=True):
        alikes = [wanted for known, wanted in PATTERNS if re.fullmatch(known, varied)]
        pattern += (alikes or [NUMBER])[0] + re.escape(then)
    return pattern


def alike(shown: str, output: str) -> bool:
    squeezed = "".join(" ".join(line.split()) + "\n" for line in output.rstrip().splitlines())
    return re.fullmatch(shape(shown), squeezed) is not None


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[Step, str]:
    """What each tested block printed; all of them are run one after the other by one shell, as a reader's."""
    folder = tmp_path_factory.mktemp("walk")
    (folder / "deploy/prometheus").mkdir(parents=True)
    (folder / "quickstart").mkdir()
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    for file in (ROOT / "deploy/prometheus").iterdir():
        text = file.read_text(encoding="utf-8").replace(":8080", f":{ports['8080']}")
        text = text.replace("_interval: 15s", "_interval: 1s")  # none of the tests' business
        (folder / "deploy/prometheus" / file.name).write_text(text, encoding="utf-8")
    runnable = [step for step in TESTED if step.needs is None or shutil.which(step.needs)]
    script = "\n".join(f"{step.commands}\n{AFTERWARDS}" for step in runnable)
    script = re.sub(rf"\b({'|'.join(PORTS)})\b", lambda match: ports[match[0]], script)
    output = run(script, folder, commands(folder), ports["8080"])
    parts = re.split(r"\n===== \d+\n", output)[:-1]
    return dict(zip(runnable, parts, strict=False))


def commands(folder: Path) -> Path:
    """A folder with `prefix-router` and `python` as an environment has them."""
    bin_ = folder / "bin"
    bin_.mkdir()
    for name, arguments in {"python": "", "prefix-router": "-m router"}.items():
        (bin_ / name).write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        (bin_ / name).chmod(0o755)
    return bin_


def run(script: str, folder: Path, bin_: Path, router_port: str) -> str:
    """What a shell prints that is given these commands. Ends all that it started, also when it takes too long."""
    environment = {name: value for name, value in os.environ.items() if "PREFIX_ROUTER" not in name}
    environment |= {
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PREFIX_ROUTER_PORT": router_port,
        "PREFIX_ROUTER_URL": f"http://127.0.0.1:{router_port}",
        "no_proxy": "127.0.0.1",
    }
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        shell = subprocess.Popen(
            ["bash"],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            cwd=folder / "quickstart",
            env=environment,
            start_new_session=True,
        )
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                shell.communicate(script.encode(), timeout=LIMIT_S)
        finally:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    return (folder / "out").read_text(encoding="utf-8")


@pytest.mark.timeout(LIMIT_S + 30)
@pytest.mark.parametrize("step", TESTED, ids=NAMES)
def test_a_step_prints_the_like_of_what_is_shown(step: Step, outputs: dict[Step, str]) -> None:
    if step.needs is not None:
        binary(step.needs)
    assert step in outputs, "it, or a step before it, failed or did not end"
    if step.shown is not None:
        assert alike(step.shown, outputs[step]), f"\n\nit prints now:\n\n{outputs[step]}"


@pytest.mark.timeout(LIMIT_S + 30)
def test_a_worker_that_dies_changes_no_answer(outputs: dict[Step, str]) -> None:
    """Four streams, of which two went on elsewhere, have the same text."""
    [death] = [step for step in TESTED if "kill -9" in step.commands]
    sums = re.findall(r"^\d+ \d+$", outputs[death], re.MULTILINE)
    assert len(sums) == 4
    assert len(set(sums)) == 1


@pytest.mark.timeout(LIMIT_S + 30)
def test_the_second_request_is_a_hit(outputs: dict[Step, str]) -> None:
    [hit] = [step for step in TESTED if "for try" in step.commands]
    first, second = re.findall(r'"cached_tokens":(\d+)', outputs[hit])
    assert int(first) == 0
    assert int(second) > 2000


def test_what_is_not_tested_is_known() -> None:
    """A new block is run, or is added to the list with its reason."""
    left_out = [step for step in STEPS if not step.is_tested]
    assert len(left_out) == len(NOT_TESTED)
    for step in left_out:
        assert any(step.commands.startswith(beginning) for beginning in NOT_TESTED), step.commands


def test_every_step_is_in_the_table_of_times() -> None:
    table = re.findall(r"^\|[^|]*\|[^|]*\]\(#([\w-]+)\)", TEXT, re.MULTILINE)
    steps_ = [title for title in re.findall(r"^## (.*)$", TEXT, re.MULTILINE) if title[0].isdigit()]
    assert [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in steps_] == [
        anchor for anchor in table if anchor[0].isdigit()
    ]


@pytest.mark.parametrize(
    ("shown", "output", "same"),
    [
        ("took 0.8 s\n", "took 12.345 s\n", True),
        ("it is up\n", "it is down\n", False),
        ("127.0.0.1:8001  up\n", "127.0.0.1:18222 up\n", True),
        ("a\n…\nz\n", "a\nb\nc\nz\n", True),
        ("a\n…\nz\n", "a\nb\nc\n", False),
        (
            '"id":"chatcmpl-0123456789abcdef01",…\n',
            '"id":"chatcmpl-fedcba9876543210ff","x":1\n',
            True,
        ),
    ],
)
def test_shapes(shown: str, output: str, *, same: bool) -> None:
    assert alike(shown, output) is same
