"""The files for EKS: they hold together, with each other, with the chart and with the router's settings."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from router.settings import Settings
from tests.fakes.helm import binary

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/eks"
CHART = ROOT / "deploy/helm/prefix-router"
NLB = "service.beta.kubernetes.io/aws-load-balancer-"
ALB = "alb.ingress.kubernetes.io/"

# What eksctl's schema (v1alpha5, pkg/apis/eksctl.io/v1alpha5/assets/schema.json) allows, of what is used here.
CLUSTER = {
    "apiVersion",
    "kind",
    "metadata",
    "availabilityZones",
    "vpc",
    "iam",
    "addons",
    "managedNodeGroups",
    "cloudWatch",
}
NODE_GROUP = {
    "name", "instanceType", "instanceTypes", "spot", "minSize", "maxSize", "desiredCapacity", "privateNetworking",
    "volumeSize", "volumeThroughput", "volumeIOPS", "labels", "taints", "propagateASGTags", "nodeRepairConfig",
    "updateConfig", "iam", "availabilityZones", "efaEnabled", "placement", "capacityReservation", "instanceMarketOptions",
}  # fmt: skip
ADDON = {"name", "version", "wellKnownPolicies", "attachPolicy", "configurationValues"}
SERVICE_ACCOUNT = {"metadata", "wellKnownPolicies", "attachPolicy"}

# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/: TargetGroupAttribute
TARGET_GROUP = {
    "deregistration_delay.timeout_seconds", "load_balancing.cross_zone.enabled", "load_balancing.algorithm.type",
    "preserve_client_ip.enabled", "target_health_state.unhealthy.connection_termination.enabled",
    "target_health_state.unhealthy.draining_interval_seconds",
}  # fmt: skip


def uncommented(text: str) -> str:
    """With the H200 group, which is a comment."""
    before, mark, after = text.partition("  # - name: h200")
    group = [line for line in (mark + after).splitlines() if line.startswith("  # ")]
    rest = after.partition("\n\n")[2]
    return before + "\n".join("  " + line[4:] for line in group) + "\n\n" + rest


@cache
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(uncommented((FOLDER / "cluster.yaml").read_text()))
    return loaded


@cache
def node_groups() -> dict[str, dict[str, Any]]:
    return {group["name"]: group for group in cluster()["managedNodeGroups"]}


def merged(*names: str) -> dict[str, Any]:
    """Values as Helm merges files."""

    def merge(into: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
        for key, value in other.items():
            both = isinstance(value, dict) and isinstance(into.get(key), dict)
            into[key] = merge(into[key], value) if both else value
        return into

    result: dict[str, Any] = {}
    for name in names:
        merge(result, yaml.safe_load((FOLDER / name).read_text()))
    return result


def attributes(value: str) -> dict[str, str]:
    return dict(part.split("=") for part in value.split(","))


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(FOLDER.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if "kind" in document:
                yield path.name, document


def test_the_cluster_has_only_what_eksctl_knows() -> None:
    assert set(cluster()) <= CLUSTER
    assert cluster()["apiVersion"] == "eksctl.io/v1alpha5"
    for group in cluster()["managedNodeGroups"]:
        assert set(group) <= NODE_GROUP, group["name"]
        assert group["minSize"] <= group["desiredCapacity"] <= group["maxSize"]
    for addon in cluster()["addons"]:
        assert set(addon) <= ADDON, addon["name"]
        json.loads(addon.get("configurationValues", "{}"))
    for account in cluster()["iam"]["serviceAccounts"]:
        assert set(account) <= SERVICE_ACCOUNT


@pytest.mark.skipif(
    "EKSCTL_SCHEMA" not in os.environ, reason="EKSCTL_SCHEMA names no schema.json of eksctl's"
)
def test_the_cluster_is_what_eksctl_takes() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(Path(os.environ["EKSCTL_SCHEMA"]).read_text())
    jsonschema.validate(cluster(), schema)


def test_the_commented_group_is_one_of_the_groups() -> None:
    assert set(node_groups()) == {"system", "l40s", "l40s-spot", "h200"}


@pytest.mark.parametrize("name", ["l40s", "l40s-spot", "h200"])
def test_only_what_needs_a_gpu_is_put_there(name: str) -> None:
    assert [taint["key"] for taint in node_groups()[name]["taints"]] == ["nvidia.com/gpu"]
    assert node_groups()[name]["propagateASGTags"]


def test_everything_is_in_the_one_region() -> None:
    region = cluster()["metadata"]["region"]
    assert all(zone.startswith(region) for zone in cluster()["availabilityZones"])
    for path in FOLDER.glob("*.yaml"):
        assert set(re.findall(r"\b(?:eu|us|ap|ca|sa)-[a-z]+-\d", path.read_text())) <= {region}, (
            path.name
        )


def test_no_account_and_no_name_of_ours_is_in_it() -> None:
    text = "".join(path.read_text() for path in FOLDER.glob("*.yaml"))
    assert not re.search(r"\b\d{12}\b", text)
    assert set(re.findall(r"arn:aws:s3:::([\w-]+)", text)) == {"CHANGE-ME-models"}


def test_workers_find_nodes_that_there_are() -> None:
    values = merged("values.yaml")
    capacity = {"l40s": "ON_DEMAND", "l40s-spot": "SPOT"}
    offered = [
        node_groups()[name]["labels"] | {"eks.amazonaws.com/capacityType": kind}
        for name, kind in capacity.items()
    ]
    for worker in values["workers"]:
        assert any(worker["nodeSelector"].items() <= labels.items() for labels in offered), worker[
            "name"
        ]
    assert values["router"]["nodeSelector"].items() <= node_groups()["system"]["labels"].items()


def test_a_spot_worker_ends_within_the_notice() -> None:
    (spot,) = (
        worker for worker in merged("values.yaml")["workers"] if worker["name"].endswith("spot")
    )
    whole = spot["terminationGracePeriodSeconds"]
    assert spot["preStopSeconds"] + spot["shutdownTimeoutSeconds"] < whole < 120


@pytest.mark.parametrize("files", [("values.yaml",), ("values.yaml", "values-alb.yaml")])
def test_the_router_takes_its_settings(files: tuple[str, ...]) -> None:
    Settings(**merged(*files)["router"]["config"])


def test_the_network_load_balancer_waits_as_long_as_the_router() -> None:
    values = merged("values.yaml")
    settings = Settings(**values["router"]["config"])
    annotations = values["service"]["annotations"]
    group = attributes(annotations[f"{NLB}target-group-attributes"])
    leaving = settings.drain_grace_s + settings.shutdown_timeout_s
    assert set(group) <= TARGET_GROUP
    assert group["target_health_state.unhealthy.connection_termination.enabled"] == "false"
    assert int(group["target_health_state.unhealthy.draining_interval_seconds"]) >= leaving
    assert int(group["deregistration_delay.timeout_seconds"]) >= leaving
    idle = int(
        attributes(annotations[f"{NLB}listener-attributes.TCP-80"])["tcp.idle_timeout.seconds"]
    )
    assert settings.total_timeout_s < idle <= 6000
    assert settings.keep_alive_s < idle  # the router closes first
    assert annotations[f"{NLB}healthcheck-path"] == "/ready"
    noticed = int(annotations[f"{NLB}healthcheck-interval"]) * int(
        annotations[f"{NLB}healthcheck-unhealthy-threshold"]
    )
    assert noticed < settings.drain_grace_s


def test_the_application_load_balancer_closes_first_and_waits_as_long_as_the_router() -> None:
    values = merged("values.yaml", "values-alb.yaml")
    settings = Settings(**values["router"]["config"])
    annotations = values["ingress"]["annotations"]
    idle = int(
        attributes(annotations[f"{ALB}load-balancer-attributes"])["idle_timeout.timeout_seconds"]
    )
    group = attributes(annotations[f"{ALB}target-group-attributes"])
    assert settings.total_timeout_s <= idle <= 4000
    assert settings.keep_alive_s > idle
    assert set(group) <= TARGET_GROUP
    assert (
        int(group["deregistration_delay.timeout_seconds"])
        >= settings.drain_grace_s + settings.shutdown_timeout_s
    )
    assert annotations[f"{ALB}healthcheck-path"] == "/ready"


def test_what_is_referred_to_is_there() -> None:
    values = merged("values.yaml")
    kinds = {(document["kind"], document["metadata"].get("name")) for _, document in documents()}
    accounts = {account["metadata"]["name"] for account in cluster()["iam"]["serviceAccounts"]}
    job = next(document for name, document in documents() if name == "model-download.yaml")
    pod = job["spec"]["template"]["spec"]
    assert ("PersistentVolumeClaim", values["workerDefaults"]["storage"]["existingClaim"]) in kinds
    assert ("StorageClass", "gp3") in kinds
    assert pod["serviceAccountName"] in accounts
    assert pod["nodeSelector"].items() <= node_groups()["system"]["labels"].items()


def test_models_are_where_workers_look_for_them() -> None:
    values = merged("values.yaml")
    volume = next(document for _, document in documents() if document["kind"] == "PersistentVolume")
    job = next(document for name, document in documents() if name == "model-download.yaml")
    target = job["spec"]["template"]["spec"]["containers"][0]["args"][-1]
    (prefix,) = (
        option.split()[1]
        for option in volume["spec"]["mountOptions"]
        if option.startswith("prefix ")
    )
    bucket = volume["spec"]["csi"]["volumeAttributes"]["bucketName"]
    path = target.removeprefix(f"s3://{bucket}/{prefix}")
    mount = values["workerDefaults"]["storage"]["mountPath"]
    assert {worker["model"] for worker in values["workers"]} == {f"{mount}/{path}"}
    assert [each["mountPath"] for each in values["router"]["extraVolumeMounts"]] == [mount]


def test_everything_has_a_home() -> None:
    homeless = {
        "ClusterConfig",
        "Namespace",
        "PersistentVolume",
        "StorageClass",
        "NodePool",
        "EC2NodeClass",
    }
    for name, document in documents():
        assert document["kind"] in homeless or document["metadata"]["namespace"] == "llm", name


@pytest.mark.parametrize("files", [("values.yaml",), ("values.yaml", "values-alb.yaml")])
def test_the_chart_takes_the_values(files: tuple[str, ...]) -> None:
    given = [argument for name in files for argument in ("-f", str(FOLDER / name))]
    command = [str(binary()), "template", "router", str(CHART), "--namespace", "llm", *given]
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    made = [document for document in yaml.safe_load_all(done.stdout) if document]
    assert sum(document["kind"] == "Deployment" for document in made) >= 3


OTHERS = [
    document
    for block in re.findall(
        r"```yaml\n(.*?)```", (ROOT / "docs/other-clouds.md").read_text(), re.DOTALL
    )
    for document in yaml.safe_load_all(block)
]


def test_other_clouds_know_how_long_the_router_takes_to_leave() -> None:
    (policy,) = (document for document in OTHERS if document.get("kind") == "GCPBackendPolicy")
    assert policy["spec"]["default"]["timeoutSec"] >= Settings().total_timeout_s
    (check,) = (document for document in OTHERS if document.get("kind") == "HealthCheckPolicy")
    assert check["spec"]["default"]["config"]["httpHealthCheck"]["requestPath"] == "/ready"


@pytest.mark.parametrize("values", [document for document in OTHERS if "kind" not in document])
def test_the_chart_takes_the_values_of_other_clouds(values: dict[str, Any], tmp_path: Path) -> None:
    Settings(**values.get("router", {}).get("config", {}))
    values["workers"] = [{"name": "a", "model": "b"}]
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    command = [str(binary()), "template", "router", str(CHART), "-f", str(tmp_path / "values.yaml")]
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
