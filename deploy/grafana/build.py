"""Writes the dashboards: python -m deploy.grafana.build"""

import json
from pathlib import Path

from deploy.grafana.boards import cache, fleet, latency, overview, router
from deploy.grafana.boards.board import Board

FOLDER = Path(__file__).parent
BOARDS: dict[str, Board] = {
    "overview": overview.BOARD,
    "fleet": fleet.BOARD,
    "cache": cache.BOARD,
    "latency": latency.BOARD,
    "router": router.BOARD,
}


def text(board: Board) -> str:
    """The file's content."""
    return json.dumps(board.json(), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write them all."""
    for name, board in BOARDS.items():
        (FOLDER / f"{name}.json").write_text(text(board), encoding="utf-8")


if __name__ == "__main__":
    main()
