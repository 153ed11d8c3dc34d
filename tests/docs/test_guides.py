"""docs/migrating.md, docs/phases.md and docs/tuning.md say what there is, and name all that others have."""

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from router.setting_sources import load
from router.settings import Settings
from tests.deploy import chart
from tests.docs.guides import (
    ROOT,
    Block,
    Guide,
    code,
    commands,
    exists,
    is_command,
    unknown_metrics,
)
from tests.docs.session import Session, typed
from tests.fakes.ports import free_ports
from tests.fakes.prometheus import promtool

MIGRATING, PHASES, TUNING = GUIDES = [Guide(name) for name in ("migrating", "phases", "tuning")]
THEIRS = yaml.safe_load((ROOT / "tests/docs/production_stack.yaml").read_text(encoding="utf-8"))
"""What vllm-project/production-stack has."""
VLLM = (ROOT / "tests/deploy/flags/vllm-0.32.0-serve.txt").read_text(encoding="utf-8").split()
NONE = "–"  # noqa: RUF001 - as the tables have it
every = pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)


def marked(guide: Guide, comment: str) -> list[dict[str, Any]]:
    """Blocks of YAML whose first line says what they are."""
    blocks = [each.text for each in guide.blocks("yaml")]
    return [yaml.safe_load(text) for text in blocks if text.startswith(f"# {comment}")]


# -- what all of them are held to ----------------------------------------------------------------


@every
def test_metrics_exist(guide: Guide) -> None:
    assert not unknown_metrics(guide.text)


@every
def test_settings_that_are_named_exist(guide: Guide) -> None:
    """Whatever ends as times do, or is written `name (default)`, is a setting."""
    timed = set(re.findall(r"`([a-z]+(?:_[a-z]+)*_s)\b", guide.prose()))
    assert timed <= Settings.model_fields.keys()


@every
def test_columns_of_ours_name_what_there_is(guide: Guide) -> None:
    wrong = [
        name
        for table in guide.tables()
        for column, head in enumerate(table.head)
        if head in ("here", "`policy` here", "setting", "change", "set", "value")
        for row in table.rows
        for name in code(row[column])
        if not exists(name) and not _is_anothers(name)
    ]
    assert not wrong


def _is_anothers(name: str) -> bool:
    """An option of vLLM's, or how some other program is told the same."""
    return name.partition("=")[0] in VLLM or name in (
        "embeddings=30",
        "unix://",
        "maxmemory-policy volatile-ttl",
    )


@every
def test_commands_have_these_options(guide: Guide) -> None:
    wrong = [
        command
        for block in guide.blocks("sh")
        for command in commands(block.text)
        if not is_command(command)
    ]
    assert not wrong


@every
def test_links_lead_somewhere(guide: Guide) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", guide.prose()):
        if target.startswith("https://"):
            continue
        path, _, heading = target.partition("#")
        file = (ROOT / "docs" / path).resolve() if path else ROOT / f"docs/{guide.name}.md"
        assert file.exists(), target
        if heading and file.parent.name == "docs":
            assert heading in Guide(file.stem).headings(), target


@every
def test_settings_are_accepted(
    guide: Guide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tenants.yaml").write_text("tenants: {}\n", encoding="utf-8")
    examples = marked(guide, "router.yaml")
    assert examples
    for values in examples:
        file = tmp_path / "router.yaml"
        file.write_text(yaml.safe_dump(values), encoding="utf-8")
        load(file, {})


@pytest.mark.parametrize("guide", [MIGRATING, PHASES], ids=lambda guide: guide.name)
def test_values_are_rendered(guide: Guide, tmp_path: Path) -> None:
    examples = marked(guide, "values.yaml")
    assert len(examples) > 1
    for number, values in enumerate(examples):
        file = tmp_path / f"{number}.yaml"
        file.write_text(yaml.safe_dump(values), encoding="utf-8")
        done = chart.run("template", "rel", chart.CHART, "-n", "llm", "-f", file)
        assert done.returncode == 0, done.stderr


@every
def test_queries_can_be_asked(guide: Guide, tmp_path: Path) -> None:
    """A query is a line; promtool reads each as the expression of a rule."""
    cells = [
        name
        for table in guide.tables()
        for row in table.rows
        for cell in row
        for name in code(cell)
        if re.match(r"(sum|max_over_time|histogram_quantile|rate)\(", name)
    ]
    lines = [line for block in guide.blocks("promql") for line in block.text.splitlines() if line]
    asked = [*lines, *(cell for cell in cells if "…" not in cell)]
    rules = [{"record": f"q{number}", "expr": expr} for number, expr in enumerate(asked)]
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "guide", "rules": rules}]}), encoding="utf-8"
    )
    status, said = promtool("check", "rules", "rules.yaml", folder=tmp_path)
    assert status == 0, said


# -- coming from something else ------------------------------------------------------------------


def named_in(head: str) -> Counter[str]:
    return Counter(name for row in MIGRATING.table(head).rows for name in code(row[0]))


def test_the_version_that_was_read_is_named() -> None:
    assert THEIRS["commit"] in MIGRATING.text


@pytest.mark.parametrize(
    ("head", "names"),
    [("flag", THEIRS["flags"]), *THEIRS["values"].items()],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_name_of_theirs_has_its_place(head: str, names: list[str]) -> None:
    assert named_in(head) == Counter(names)


@pytest.mark.parametrize(
    "names", [THEIRS["routing"], THEIRS["metrics"]], ids=["routing", "metrics"]
)
def test_so_have_their_policies_and_metrics(names: list[str]) -> None:
    accounted = {
        name
        for table in MIGRATING.tables()
        if table.head[0] == "theirs"
        for row in table.rows
        for name in code(row[0])
    }
    assert set(names) <= accounted


def test_no_flag_has_an_empty_place() -> None:
    """Each says what to use, that nothing is needed, or that there is nothing, and why."""
    for flag, here, note in MIGRATING.table("flag").rows:
        assert here in ("nothing", NONE) or code(here), flag
        assert note or here != NONE or flag.startswith("`--sentry"), flag


def test_their_own_examples_are_theirs() -> None:
    shell = "".join(block.text for block in MIGRATING.blocks("sh") if "vllm-router" in block.text)
    assert set(re.findall(r"(?<=\s)--[a-z0-9-]+", shell)) <= set(THEIRS["flags"])
    (values,) = marked(MIGRATING, "theirs")
    (model,) = values["servingEngineSpec"].pop("modelSpec")
    assert set(values["routerSpec"]) <= set(THEIRS["values"]["routerSpec"])
    assert set(values["servingEngineSpec"]) <= set(THEIRS["values"]["servingEngineSpec"])
    assert set(model) <= set(THEIRS["values"]["modelSpec"])


def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    (block,) = MIGRATING.blocks("nginx")
    text = block.text.replace("/var/log/nginx", str(tmp_path))
    file = tmp_path / "nginx.conf"
    file.write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}} http {{\n{text}}}\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [nginx, "-t", "-p", tmp_path, "-c", file], capture_output=True, text=True, check=False
    )
    assert "syntax is ok" in done.stderr, done.stderr


def test_haproxy_takes_the_configuration(tmp_path: Path) -> None:
    haproxy = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if haproxy is None:
        pytest.skip("haproxy is not installed")
    (block,) = MIGRATING.blocks("haproxy")
    file = tmp_path / "haproxy.cfg"
    file.write_text(block.text, encoding="utf-8")
    done = subprocess.run([haproxy, "-c", "-f", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# -- phases --------------------------------------------------------------------------------------


def test_the_first_phase_can_be_tried(tmp_path: Path) -> None:
    """As the section shows it: a service, a router without a worker, then one."""
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    section = PHASES.section("Try it without an account")
    (prelude,) = (block.text for block in section.blocks("sh"))
    ports = dict(zip((8001, 8002, 8080), free_ports(3), strict=True))
    with Session(tmp_path, prelude, ports, router=8080) as session:
        for name, text in (("tenants", PHASES.text), ("router", section.text)):
            (block,) = re.findall(rf"^# {name}\.yaml.*?(?=^```)", text, re.MULTILINE | re.DOTALL)
            (tmp_path / f"{name}.yaml").write_text(session.here(block), encoding="utf-8")
        shown = [each for block in section.blocks("") for each in typed(block.text)]
        assert len(shown) > 10
        for command, output in shown:
            session.run(command, output, again=not command.startswith("ask"))


# -- tuning --------------------------------------------------------------------------------------


def test_options_of_vllm_exist() -> None:
    rows = TUNING.table("option of `vllm serve`").rows
    options = {name for row in rows for name in code(row[0]) if name.startswith("--")}
    assert options <= set(VLLM)


def test_defaults_are_the_settings() -> None:
    """Where a table has the column `default`, and where a setting stands as `name` (default)."""
    told = dict(re.findall(r"`([a-z_]+)` \(([0-9.,]+)\)", TUNING.prose()))
    for table in TUNING.tables():
        if table.head[:2] == ["setting", "default"]:
            for row in table.rows:
                told.update(zip(code(row[0]), row[1].replace("`", "").split(", "), strict=False))
    assert len(told) > 25
    for name, default in told.items():
        if name in Settings.model_fields and default:
            assert _said(Settings.model_fields[name].default) == default.replace(",", ""), name


def _said(default: object) -> str:
    if default is None or default == {}:
        return "none"
    return f"{default:g}" if isinstance(default, float) else str(default)


def test_fences_are_closed() -> None:
    for guide in GUIDES:
        assert guide.text.count("```") % 2 == 0
        assert not [block for block in guide.blocks("promql") if block == Block("promql", "")]
