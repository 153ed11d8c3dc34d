"""What the chart's objects say of each other holds: selectors, ports, volumes, secrets, rights."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy import chart
from tests.deploy.chart import Object

EXISTING = {"one-model": {"hugging-face", "prefix-router-keys"}, "several-models": {"hugging-face", "shared-redis"},
            "lmcache-redis": {"lmcache-redis"}, "existing-fleet": {"vllm"}, "air-gapped": {"keys"},
            "everything": {"router-tls", "redis-password", "managed"}}  # fmt: skip
"""Secrets that the values say are there."""
CLAIMS = {"everything": {"models"}}


@pytest.fixture(params=chart.VALUE_SETS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def objects(name: str) -> list[Object]:
    return chart.render(name)


def _templates(objects: list[Object]) -> list[Object]:
    return [template for _, template in chart.pods(objects)]


def test_owners_select_their_own_pods_only(objects: list[Object]) -> None:
    for owner in chart.of_kind(objects, "Deployment", "DaemonSet"):
        selector = owner["spec"]["selector"]["matchLabels"]
        selected = [
            name for name, template in chart.pods(objects) if chart.matches(selector, template)
        ]
        assert selected == [owner["metadata"]["name"]]


def test_every_other_selector_finds_pods(objects: list[Object]) -> None:
    for each in chart.of_kind(objects, "PodDisruptionBudget", "PodMonitor"):
        selector = each["spec"]["selector"]["matchLabels"]
        assert any(chart.matches(selector, template) for template in _templates(objects)), each
    for each in chart.of_kind(objects, "ServiceMonitor"):
        selector = each["spec"]["selector"]["matchLabels"]
        services = chart.of_kind(objects, "Service")
        found = [
            each for each in services if selector.items() <= each["metadata"]["labels"].items()
        ]
        assert len(found) == 1  # or routers would be scraped twice
    for each in chart.of_kind(objects, "NetworkPolicy"):
        selector = each["spec"]["podSelector"]["matchLabels"]
        assert any(chart.matches(selector, template) for template in _templates(objects)), each


def _port_names(template: Object) -> set[str]:
    return {port["name"] for each in chart.containers(template) for port in each.get("ports", [])}


def test_services_lead_to_ports_that_are_there(objects: list[Object]) -> None:
    for service in chart.of_kind(objects, "Service"):
        selector = service["spec"]["selector"]
        found = [each for each in _templates(objects) if chart.matches(selector, each)]
        assert found, service["metadata"]["name"]
        for template in found:
            wanted = {port["targetPort"] for port in service["spec"]["ports"]}
            assert wanted <= _port_names(template)


def test_ports_of_pods_are_distinct(objects: list[Object]) -> None:
    for template in _templates(objects):
        ports = [port for each in chart.containers(template) for port in each.get("ports", [])]
        assert len({port["name"] for port in ports}) == len(ports)
        assert len({port["containerPort"] for port in ports}) == len(ports)
        assert all(len(port["name"]) <= 15 for port in ports)


def _probes(container: Object) -> Iterator[Object]:
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        if kind in container:
            yield container[kind]


def test_probes_and_monitors_ask_ports_that_are_there(objects: list[Object]) -> None:
    for template in _templates(objects):
        for each in chart.containers(template):
            for probe in _probes(each):
                ports = {port["name"] for port in each["ports"]}
                assert (probe.get("httpGet") or probe["tcpSocket"])["port"] in ports
    for each in chart.of_kind(objects, "PodMonitor"):
        for template in _templates(objects):
            if chart.matches(each["spec"]["selector"]["matchLabels"], template):
                assert {end["port"] for end in each["spec"]["podMetricsEndpoints"]} <= _port_names(
                    template
                )


def test_policies_name_ports_that_are_there(objects: list[Object]) -> None:
    for policy in chart.of_kind(objects, "NetworkPolicy"):
        selector = policy["spec"]["podSelector"]["matchLabels"]
        there: set[Any] = set()
        for template in _templates(objects):
            if chart.matches(selector, template):
                there |= _port_names(template) | {
                    port["containerPort"]
                    for each in chart.containers(template)
                    for port in each.get("ports", [])
                }
        for rule in policy["spec"].get("ingress", []):
            assert {port["port"] for port in rule["ports"]} <= there


def test_prefill_and_decode_workers_may_reach_each_other() -> None:
    def rules(*flags: str) -> int:
        policy = chart.named(
            chart.render("everything", *flags), "NetworkPolicy", f"{chart.FULL}-workers"
        )
        return len([each for each in policy["spec"]["ingress"] if "ports" not in each])

    assert rules() == 0
    assert rules("--set", "workers[0].role=prefill", "--set", "workers[1].role=decode") == 1


def test_volumes_are_there_and_used(objects: list[Object]) -> None:
    for template in _templates(objects):
        volumes = {each["name"] for each in template["spec"].get("volumes", [])}
        mounts = {
            mount["name"]
            for each in chart.containers(template)
            for mount in each.get("volumeMounts", [])
        }
        assert volumes == mounts


def test_secrets_claims_and_config_maps_are_there(name: str, objects: list[Object]) -> None:
    secrets = {
        each["metadata"]["name"]: set(each["stringData"])
        for each in chart.of_kind(objects, "Secret")
    }
    maps = {each["metadata"]["name"] for each in chart.of_kind(objects, "ConfigMap")}
    claims = {each["metadata"]["name"] for each in chart.of_kind(objects, "PersistentVolumeClaim")}
    for secret, key in _secret_keys(objects):
        assert secret in EXISTING.get(name, set()) or key in secrets[secret], (secret, key)
    for template in _templates(objects):
        for volume in template["spec"].get("volumes", []):
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims | CLAIMS.get(
                    name, set()
                )
            if "secret" in volume:
                keys = secrets.get(volume["secret"]["secretName"], set())
                wanted = {each["key"] for each in volume["secret"].get("items", [])}
                assert volume["secret"]["secretName"] in EXISTING.get(name, set()) or wanted <= keys


def _secret_keys(objects: list[Object]) -> Iterator[tuple[str, str]]:
    for template in _templates(objects):
        for container in chart.containers(template):
            for each in container.get("env", []):
                ref = each.get("valueFrom", {}).get("secretKeyRef")
                if ref:
                    yield ref["name"], ref["key"]


def test_the_router_may_read_where_it_looks_and_nothing_else(objects: list[Object]) -> None:
    config = chart.config(objects)
    roles = {each["metadata"]["namespace"]: each for each in chart.of_kind(objects, "Role")}
    looks = "kubernetes_selector" in config or "kubernetes_service" in config
    router = chart.named(objects, "Deployment", chart.FULL)["spec"]["template"]["spec"]
    assert router["automountServiceAccountToken"] is looks
    wanted = {chart.NAMESPACE, *config.get("kubernetes_namespaces", [])} if looks else set()
    if "/" in config.get("kubernetes_service", ""):
        wanted.add(config["kubernetes_service"].partition("/")[0])
    assert set(roles) == wanted
    for role in roles.values():
        allowed = {(group, kind): set(rule["verbs"]) for rule in role["rules"]
                   for group in rule["apiGroups"] for kind in rule["resources"]}  # fmt: skip
        reading = {"get", "list", "watch"}
        assert allowed == {("", "pods"): reading, ("discovery.k8s.io", "endpointslices"): reading}
    account = chart.named(objects, "ServiceAccount", router["serviceAccountName"])
    for binding in chart.of_kind(objects, "RoleBinding"):
        meta = binding["metadata"]
        assert binding["roleRef"]["name"] == roles[meta["namespace"]]["metadata"]["name"]
        assert binding["subjects"] == [
            {
                "kind": "ServiceAccount",
                "name": account["metadata"]["name"],
                "namespace": chart.NAMESPACE,
            }
        ]


def _selector(text: str) -> dict[str, str]:
    return dict(each.split("=") for each in text.split(","))


def test_the_router_finds_this_releases_workers_and_its_replicas(objects: list[Object]) -> None:
    config = chart.config(objects)
    of = {"worker": [], "router": []}  # type: dict[str, list[Object]]
    for template in _templates(objects):
        of.setdefault(chart.component(template), []).append(template)
    if of["worker"]:
        pool = _selector(config["kubernetes_selector"])
        assert [each for each in _templates(objects) if chart.matches(pool, each)] == of["worker"]
        assert chart.NAMESPACE in config.get("kubernetes_namespaces", [chart.NAMESPACE])
    if "kubernetes_routers" in config:
        replicas = _selector(config["kubernetes_routers"])
        assert [each for each in _templates(objects) if chart.matches(replicas, each)] == of[
            "router"
        ]


def test_who_scales_has_no_number_of_replicas(objects: list[Object]) -> None:
    scaled = {each["spec"]["scaleTargetRef"]["name"]
              for each in chart.of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject")}  # fmt: skip
    for each in chart.of_kind(objects, "Deployment"):
        assert ("replicas" in each["spec"]) is not (each["metadata"]["name"] in scaled)
    assert scaled <= {each["metadata"]["name"] for each in chart.of_kind(objects, "Deployment")}


def test_routes_lead_to_the_service(objects: list[Object]) -> None:
    service = chart.named(objects, "Service", chart.FULL)
    ports = {each["port"] for each in service["spec"]["ports"]}
    for each in chart.of_kind(objects, "Ingress"):
        for rule in each["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                assert backend["name"] == chart.FULL
                assert backend["port"]["number"] in ports
    for each in chart.of_kind(objects, "HTTPRoute"):
        for rule in each["spec"]["rules"]:
            assert [(ref["name"], ref["port"] in ports) for ref in rule["backendRefs"]] == [
                (chart.FULL, True)
            ]


def test_names_are_asked_for_wherever_the_clusters_dns_listens() -> None:
    policy = chart.named(chart.render("everything"), "NetworkPolicy", chart.FULL)["spec"]
    [dns] = [rule["ports"] for rule in policy["egress"] if "to" not in rule and {"port": 53, "protocol": "UDP"} in rule["ports"]]  # fmt: skip
    assert {(each["port"], each["protocol"]) for each in dns} == {
        (port, protocol) for port in (53, 5353) for protocol in ("UDP", "TCP")
    }
