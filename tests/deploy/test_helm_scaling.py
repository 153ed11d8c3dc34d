"""What workers and routers are scaled by."""

import json
import re

import pytest

from tests.deploy import chart, kubernetes_schemas


def test_metrics_that_workers_scale_by_are_the_routers() -> None:
    names = set(re.findall(r"router_\w+", (chart.ROOT / "README.md").read_text(encoding="utf-8")))
    one = chart.render("sidecar", "--set", "workers[0].autoscaling.type=keda")
    queries = {}
    for keda in chart.of_kind([*chart.render("everything"), *one], "ScaledObject"):
        for each in keda["spec"]["triggers"]:
            query = each["metadata"]["query"]
            queries[query.split('"')[-2], each["name"]] = query
    assert set(re.findall(r"router_\w+", " ".join(queries.values()))) <= names
    series = (
        ("queue-depth", "router_queue_depth"),
        ("pending-prefill-tokens", "router_pending_prefill_tokens"),
    )
    assert queries == {
        (model, trigger): f'sum({name}{{namespace="{chart.NAMESPACE}",model="{model}"}})'
        for model in ("llama-8b", "meta-llama/Llama-3.1-8B-Instruct")
        for trigger, name in series
    }


def test_a_model_of_several_names_is_scaled_by_all_of_them() -> None:
    objects = chart.render("several-models", "--set", "workers[0].autoscaling.type=keda")
    [keda] = chart.of_kind(objects, "ScaledObject")
    where = f'namespace="{chart.NAMESPACE}"'
    assert [each["metadata"]["query"] for each in keda["spec"]["triggers"]] == [
        f'sum(router_queue_depth{{{where},model=~"qwen-7b|small"}})',
        f'sum(router_pending_prefill_tokens{{{where},model="qwen-7b"}})',  # each name has all of it
    ]


@pytest.mark.parametrize(
    ("matchers", "model"),
    [
        ("namespace='llm'", "meta/llama"),
        ('namespace="llm",job=~"a|b"', "meta/llama"),
        (r'namespace=~"llm-\\d+"', "it's: a #model"),
    ],
)
def test_quotes_of_either_kind_are_part_of_the_query(matchers: str, model: str) -> None:
    keda = {"type": "keda", "matchers": matchers, "prometheus": "http://prom:9090"}
    worker = {"name": "a", "model": model, "autoscaling": keda}
    objects = chart.rendered("external-workers", json.dumps({"workers": [worker]}))
    [scaled] = chart.of_kind(objects, "ScaledObject")
    queries = [each["metadata"]["query"] for each in scaled["spec"]["triggers"]]
    assert queries == [
        f'sum(router_queue_depth{{{matchers},model="{model}"}})',
        f'sum(router_pending_prefill_tokens{{{matchers},model="{model}"}})',
    ]


def _selector(*names: str) -> chart.Object:
    flags = [f"workers[0].servedModelName[{i}]={name}" for i, name in enumerate(names)]
    values = ("workers[0].name=a", "workers[0].model=m", "workers[0].autoscaling.type=hpa", *flags)
    objects = chart.render(
        "external-workers", *(flag for each in values for flag in ("--set", each))
    )
    [hpa] = chart.of_kind(objects, "HorizontalPodAutoscaler")
    assert kubernetes_schemas.problem(hpa, kubernetes_schemas.NEWEST) is None
    by_queue, by_prefill = (each["external"]["metric"] for each in hpa["spec"]["metrics"])
    assert by_prefill["selector"] == {"matchLabels": {"model": [*names, "m"][0]}}
    selector: chart.Object = by_queue["selector"]
    return selector


def test_an_autoscaler_counts_all_names_of_a_model() -> None:
    assert _selector() == {"matchLabels": {"model": "m"}}
    assert _selector("one") == {"matchLabels": {"model": "one"}}
    several = {"key": "model", "operator": "In", "values": ["one", "two"]}
    assert _selector("one", "two") == {"matchExpressions": [several]}
