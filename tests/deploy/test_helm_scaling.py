"""What workers and routers are scaled by."""

import json
import re

import pytest

from tests.deploy import chart, kubernetes_schemas
from tests.deploy.cluster import cluster


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


def _worker(name: str, **more: object) -> chart.Object:
    return {"name": name, "model": "org/m", "servedModelName": "m", **more}


def _targets(*workers: chart.Object) -> dict[str, list[str]]:
    """What each of these is scaled by, queue and prefill, by its name."""
    found = {}
    objects = chart.rendered("external-workers", json.dumps({"workers": workers}))
    for each in chart.of_kind(objects, "ScaledObject", "HorizontalPodAutoscaler"):
        spec = each["spec"]
        name = spec["scaleTargetRef"]["name"].removeprefix(f"{chart.FULL}-")
        found[name] = [
            *(trigger["metadata"]["threshold"] for trigger in spec.get("triggers", ())),
            *(metric["external"]["target"]["averageValue"] for metric in spec.get("metrics", ())),
        ]
    return found


def test_workers_of_one_model_share_its_queue() -> None:
    """Each would else start as many as all of them need."""
    keda, hpa = {"type": "keda"}, {"type": "hpa", "queueDepth": 3}
    assert _targets(_worker("a", autoscaling=keda)) == {"a": ["4", "16384"]}
    assert _targets(
        _worker("a", autoscaling=keda),
        _worker("spot", servedModelName=["alias", "m"], role="both", autoscaling=hpa),
        _worker("fixed"),
        _worker("other", servedModelName="other", autoscaling=keda),
        _worker("prefill", role="prefill", autoscaling=keda),
    ) == {
        "a": ["8", "32768"],
        "spot": ["6", "32768"],
        "other": ["4", "16384"],
        "prefill": ["4", "16384"],
    }


SCALED = {
    "workers": [
        _worker("a", replicas=4, autoscaling={"type": "keda", "maxReplicas": 6}),
        _worker("fixed", replicas=3),
    ],
    "router": {"replicas": 3, "autoscaling": {"enabled": True}},
    "redis": {"url": {"existingSecret": "redis"}},
}


def _replicas(objects: list[chart.Object]) -> dict[str, int | None]:
    return {
        each["metadata"]["name"].removeprefix(f"{chart.FULL}-"): each["spec"].get("replicas")
        for each in chart.of_kind(objects, "Deployment")
    }


@pytest.mark.parametrize("running", [5, 1, 0])
def test_what_runs_goes_on_when_autoscaling_is_turned_on(running: int) -> None:
    """A field that is taken away would be 1, until the autoscaler comes."""
    there = {f"{chart.FULL}-a": running, f"{chart.FULL}-fixed": 9, chart.FULL: 7}
    with cluster("rel", chart.NAMESPACE, there) as address:
        done = chart.run(
            *("template", "rel", chart.CHART, "-n", chart.NAMESPACE, "-f", "-"),
            *("--dry-run=server", "--disable-openapi-validation", "--kube-apiserver", address),
            given=json.dumps(SCALED),
        )
    assert done.returncode == 0, done.stderr
    assert _replicas(chart.read(done.stdout)) == {chart.FULL: 7, "a": running, "fixed": 3}


def test_without_a_cluster_to_ask_the_autoscaler_alone_says_how_many() -> None:
    """A number would be set back to at each update of what renders without one."""
    objects = chart.rendered("external-workers", json.dumps(SCALED))
    assert _replicas(objects) == {chart.FULL: None, "a": None, "fixed": 3}
