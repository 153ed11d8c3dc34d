"""Alerts where nothing is wrong: restarts, models without traffic, scrapes that fall where they like."""

import shutil
from pathlib import Path

from tests.deploy.queries import RULES
from tests.fakes.prometheus import promtool

HEAD = "rule_files: [rules.yaml]\nevaluation_interval: 30s\ntests:\n"

RESTART = """
  - interval: 15s
    input_series:
      - series: 'router_requests_total{job="r",instance="a",model="m1",endpoint="e",outcome="ok"}'
        values: '0+100x39 _ 0+100x40'
      - series: 'router_requests_total{job="r",instance="a",model="m1",endpoint="e",outcome="upstream_error"}'
        values: '5000x39 _ 0x40'
      - series: 'router_rejected_total{job="r",instance="a",reason="queue_full"}'
        values: '900x39 _ 0x40'
      - series: 'router_requests_total{job="r",instance="a",model="m2",endpoint="e",outcome="ok"}'
        values: '0x80'
      - series: 'router_time_to_first_token_seconds_bucket{job="r",instance="a",model="m2",endpoint="e",le="+Inf"}'
        values: '0x80'
      - series: 'router_time_to_first_token_seconds_count{job="r",instance="a",model="m2",endpoint="e"}'
        values: '0x80'
      - series: 'router_cached_tokens_prediction_error_count{job="r",instance="a",by="events"}'
        values: '0x80'
      - series: 'router_prompts_identified_total{job="r",instance="a",by="tokens_failed"}'
        values: '0x80'
      - series: 'router_worker_up{job="r",instance="a",worker="w"}'
        values: '1x39 _ 0 1x40'
      - series: 'router_worker_state{job="r",instance="a",worker="w",state="up"}'
        values: '1x39 _ _ 1x40'
      - series: 'router_worker_ejections_total{job="r",instance="a",worker="w"}'
        values: '50x39 _ 0x41'
      - series: 'router_build_info{job="r",instance="a",version="1"}'
        values: '1x39 _x41'
      - series: 'router_build_info{job="r",instance="a",version="2"}'
        values: '_x40 1x40'
      - series: 'up{job="r",instance="a"}'
        values: '1x39 0 1x40'
    alert_rule_test:
"""
SILENT = (
    *("RouterErrorRate", "RouterWorkerFlapping", "RouterSlowFirstToken", "RouterDown", "RouterNoWorker"),
    *("RouterQueueGrowing", "RouterPredictionError", "RouterIndexDegraded", "RouterHitRateDrop"),
)  # fmt: skip

THREE = """
  - interval: 14s
    input_series:
      - series: 'router_worker_ejections_total{job="r",instance="a",worker="w"}'
        values: '0x50 1x8 2x8 3x60'
    alert_rule_test:
      - {eval_time: 17m, alertname: RouterWorkerFlapping, exp_alerts: []}
"""

LOST = """
  - interval: 55s
    input_series:
      - series: 'router_kv_events_total{job="r",instance="a",worker="w",kind="resyncs"}'
        values: '5x20 6x1 8x60'
    alert_rule_test:
      - {eval_time: 32m, alertname: RouterIndexDegraded, exp_alerts: []}
"""


def told(folder: Path, tests: str) -> str:
    """What promtool has against it; empty: nothing."""
    shutil.copy(RULES, folder / "rules.yaml")
    (folder / "odd.yaml").write_text(HEAD + tests, encoding="utf-8")
    status, text = promtool("test", "rules", "odd.yaml", folder=folder)
    return text if status else ""


def test_a_new_version_of_the_only_router_and_a_model_that_nobody_asks(tmp_path: Path) -> None:
    cases = "".join(
        f"      - {{eval_time: {minute}m, alertname: {alert}, exp_alerts: []}}\n"
        for alert in SILENT
        for minute in (9, 11, 15, 19)
    )
    assert told(tmp_path, RESTART + cases) == ""


def test_three_ejections_are_not_more_than_three(tmp_path: Path) -> None:
    """Scrapes every 14 s do not fall on the window's edges."""
    assert told(tmp_path, THREE) == ""


def test_three_lost_events_are_not_more_than_three(tmp_path: Path) -> None:
    """Nor with scrapes that are rare, of which less falls into the window."""
    assert told(tmp_path, LOST) == ""


def test_four_are(tmp_path: Path) -> None:
    assert "RouterWorkerFlapping" in told(tmp_path, THREE.replace("3x60", "4x60"))
    assert "RouterIndexDegraded" in told(tmp_path, LOST.replace("8x60", "9x60"))
