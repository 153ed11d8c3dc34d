"""Brings what the chart has from elsewhere up to date: `python -m deploy.helm.update` (`--check`: only say what is not).

Charts are packaged without what lies outside their folder, so rules and dashboards are copied.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from deploy.helm.schema import path_settings, schema
from router.reload import LIVE

HERE = Path(__file__).resolve().parent
CHART = HERE / "prefix-router"
DEPLOY = HERE.parent


def files() -> Iterator[tuple[Path, str]]:
    """Every file that is made here, and what must be in it."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    yield CHART / "values.schema.json", json.dumps(schema(values), indent=1) + "\n"
    yield (
        CHART / "files" / "live-settings.txt",
        "".join(f"{name}\n" for name in sorted(LIVE)),
    )
    yield (
        CHART / "files" / "path-settings.txt",
        "".join(f"{name}\n" for name in path_settings()),
    )
    rules = DEPLOY / "prometheus" / "rules.yaml"
    if rules.exists():
        yield CHART / "files" / "rules.yaml", rules.read_text(encoding="utf-8")
    for board in sorted((DEPLOY / "grafana").glob("*.json")):
        yield CHART / "dashboards" / board.name, board.read_text(encoding="utf-8")


def stale() -> list[str]:
    """What is not as it should be, dashboards that are no more among it."""
    wanted = dict(files())
    found = [
        str(path.relative_to(CHART))
        for path, text in wanted.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    gone = set((CHART / "dashboards").glob("*.json")) - wanted.keys()
    return found + [f"{path.relative_to(CHART)} (no more)" for path in gone]


def main() -> int:
    """0: all is up to date."""
    if "--check" in sys.argv[1:]:
        for name in stale():
            print(f"{name}: run python -m deploy.helm.update", file=sys.stderr)
        return 1 if stale() else 0
    for path in set((CHART / "dashboards").glob("*.json")) - dict(files()).keys():
        path.unlink()
    for path, text in files():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
