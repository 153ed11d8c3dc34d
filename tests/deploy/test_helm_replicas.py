"""Routers that find each other, so that what an operator tells one of them all heed: settings, rights, network."""

import pytest

from tests.deploy import chart
from tests.deploy.chart import Object

KEY = "auth.adminKey.value=a"
SELECTOR = (
    "app.kubernetes.io/name=prefix-router,app.kubernetes.io/instance=rel,"
    "app.kubernetes.io/component=router"
)


def _rendered(*values: str) -> list[Object]:
    flags = [flag for each in values for flag in ("--set", each)]
    return chart.render("external-workers", *flags)


def _pod(objects: list[Object]) -> Object:
    pod = chart.named(objects, "Deployment", chart.FULL)["spec"]["template"]
    assert isinstance(pod, dict)
    return pod


@pytest.mark.parametrize(
    "values",
    [
        ["router.replicas=2", KEY],
        ["router.replicas=2", "auth.adminKey.existingSecret=keys"],
        ["router.replicas=3", "router.admin.enabled=true"],
        ["router.autoscaling.enabled=true", KEY],
    ],
)
def test_several_routers_whose_operations_are_guarded_find_each_other(values: list[str]) -> None:
    objects = _rendered(*values)
    assert chart.config(objects)["kubernetes_routers"] == SELECTOR
    pod = _pod(objects)
    assert chart.matches(dict(each.split("=") for each in SELECTOR.split(",")), pod)
    assert pod["spec"]["automountServiceAccountToken"] is True
    [role], [binding] = chart.of_kind(objects, "Role"), chart.of_kind(objects, "RoleBinding")
    assert role["metadata"]["namespace"] == chart.NAMESPACE
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    ]
    assert binding["subjects"][0]["name"] == pod["spec"]["serviceAccountName"]


@pytest.mark.parametrize(
    "values",
    [
        [KEY],  # there is one
        ["router.replicas=2"],  # whoever reaches them may drain workers; none may be added
        ["router.replicas=2", KEY, "rbac.create=false"],
    ],
)
def test_others_have_no_rights(values: list[str]) -> None:
    objects = _rendered(*values)
    assert "kubernetes_routers" not in chart.config(objects)
    assert _pod(objects)["spec"]["automountServiceAccountToken"] is False
    assert not chart.of_kind(objects, "Role", "RoleBinding")


def test_whoever_says_which_routers_there_are_is_heeded() -> None:
    objects = _rendered("router.config.kubernetes_routers=app=mine", "rbac.create=false")
    assert chart.config(objects)["kubernetes_routers"] == "app=mine"
    assert _pod(objects)["spec"]["automountServiceAccountToken"] is True


@pytest.mark.parametrize("admin", ["true", "false"])
def test_network_policies_let_routers_reach_each_other_and_the_api_server(admin: str) -> None:
    objects = _rendered("router.replicas=2", KEY, f"router.admin.enabled={admin}", "networkPolicy.enabled=true",
                        "networkPolicy.clients[0].podSelector.matchLabels.app=x")  # fmt: skip
    policy = chart.named(objects, "NetworkPolicy", chart.FULL)["spec"]
    ports = {each["name"]: each["containerPort"] for each in _pod(objects)["spec"]["containers"][0]["ports"]}  # fmt: skip
    port = "admin" if admin == "true" else "http"
    assert port in _ports(policy["ingress"], "from", objects)
    assert ports[port] in _ports(policy["egress"], "to", objects)
    assert {443, 6443} <= {each["port"] for rule in policy["egress"] for each in rule["ports"] if "to" not in rule}  # fmt: skip


def _ports(rules: list[Object], side: str, objects: list[Object]) -> set[object]:
    """Those that a rule has for the router's own pods."""
    return {
        port["port"]
        for rule in rules
        for peer in rule.get(side, [])
        for port in rule["ports"]
        if set(peer) == {"podSelector"}
        and chart.matches(peer["podSelector"]["matchLabels"], _pod(objects))
    }


def test_pods_roll_when_they_are_to_find_each_other() -> None:
    """That is read at the start alone."""
    before, after = _rendered("router.replicas=2"), _rendered("router.replicas=2", "router.config.kubernetes_routers=app=x")  # fmt: skip
    sums = {
        _pod(each)["metadata"]["annotations"]["checksum/config"]
        for each in (before, after)
    }  # fmt: skip
    assert len(sums) == 2


def test_roles_in_other_namespaces_are_of_this_release_alone() -> None:
    """However long names are."""
    names = set()
    for namespace in ("a-namespace-that-is-long-" + end for end in ("one", "two")):
        done = chart.run("template", "r" * 53, chart.CHART, "-n", namespace, "--set", "discovery.service=models/vllm")  # fmt: skip
        [role] = [each for each in chart.of_kind(chart.read(done.stdout), "Role") if each["metadata"]["namespace"] == "models"]  # fmt: skip
        assert len(role["metadata"]["name"]) <= 63
        names.add(role["metadata"]["name"])
    assert len(names) == 2
