"""The benchmark of policies as a whole, before simulated workers; its command line and its manual."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from bench.dataplane.harness import ROOT
from bench.policies.__main__ import DEFAULT, parser, turns
from router.demo.fleet import simulated_workers
from router.routing.registry import POLICIES
from tests.fakes.ports import free_ports
from tests.unit.bench.manual import check_commands, check_options


def test_every_policy_has_every_place_in_turn() -> None:
    order = list(turns(["a", "b", "c"], 3))
    assert "".join(policy for _, policy in order) == "abccabbca"
    assert [number for number, _ in order] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert list(turns(["a"], 2)) == [(1, "a"), (2, "a")]


def test_unknown_policies_are_refused() -> None:
    assert set(DEFAULT) <= set(POLICIES)
    with pytest.raises(SystemExit):
        parser().parse_args(["--policy", "prefiks"])


def test_the_manual_s_commands_are_understood() -> None:
    check_commands("policies", parser())


def test_the_manual_names_every_option_and_no_other() -> None:
    check_options("policies", parser())


@pytest.mark.timeout(120)
async def test_a_whole_run_before_simulated_workers(tmp_path: Path) -> None:
    base_port = free_ports(12)[0]
    out = tmp_path / "run.json"
    flags = "--policy prefix --policy random --rounds 1 --slice 1 --warmup 0 --sessions 6"
    more = f"--think 0.1 --patience 0 --base-port {base_port} --json {out} --logs {tmp_path}"
    async with simulated_workers(2) as workers:
        urls = [part for url in workers for part in ("--worker", url)]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.policies", *flags.split(), *more.split(), *urls),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    assert "prefix / random" in said
    made = json.loads(out.read_text())
    assert [(one["round"], one["policy"]) for one in made["slices"]] == [
        (1, "prefix"),
        (1, "random"),
    ]
    assert [one["errors"] for one in made["slices"]] == [[], []]
    known = {url.removeprefix("http://") for url in workers}
    for one in made["slices"]:
        assert {sample["worker"] for sample in one["samples"]} <= known
        assert all(0 < sample["ttft_s"] <= sample["total_s"] for sample in one["samples"])
        assert sum(sample["cached_tokens"] for sample in one["samples"]) > 0
