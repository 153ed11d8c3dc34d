"""What runs in the chart's pods: rights, arguments, probes, how they end."""

import re
from pathlib import Path

import msgspec
import pytest
import yaml

from router.discovery.kubernetes.objects import Pod
from router.discovery.kubernetes.pods import workers
from tests.deploy import chart
from tests.deploy.chart import Object

FLAGS = Path(__file__).parent / "flags"
"""Options of the programs, as their --help of these versions has them."""
PROGRAMS = {
    ("vllm", "serve"): "vllm-0.32.0-serve.txt",
    ("lmcache", "server"): "lmcache-0.5.6-server.txt",
    ("lmcache", "coordinator"): "lmcache-0.5.6-coordinator.txt",
}
_ROUTER_PATHS = {"/health", "/ready", "/metrics"}


@pytest.fixture(params=chart.VALUE_SETS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return chart.render(str(request.param))


def _of(objects: list[Object], component: str) -> list[Object]:
    return [
        template for _, template in chart.pods(objects) if chart.component(template) == component
    ]


def _sidecars(objects: list[Object]) -> list[Object]:
    return [
        each
        for found in chart.of_kind(objects, "ConfigMap")
        if "container.yaml" in found["data"]
        for each in yaml.safe_load(found["data"]["container.yaml"])
    ]


def _hardened(container: Object, pod: Object) -> bool:
    own = container["securityContext"]
    context = {**pod, **own}
    return (
        context["runAsNonRoot"] is True
        and context["runAsUser"] > 0
        and context["seccompProfile"] == {"type": "RuntimeDefault"}
        and own["readOnlyRootFilesystem"] is True
        and own["allowPrivilegeEscalation"] is False
        and own["capabilities"] == {"drop": ["ALL"]}
    )


def test_routers_redis_and_sidecars_may_do_nothing_they_need_not(objects: list[Object]) -> None:
    for component in ("router", "redis"):
        for template in _of(objects, component):
            for each in template["spec"]["containers"]:
                assert _hardened(each, template["spec"]["securityContext"]), component
    for each in _sidecars(objects):
        assert _hardened(each, {})


def test_every_container_asks_for_memory_and_a_pinned_image(objects: list[Object]) -> None:
    for _, template in chart.pods(objects):
        assert template["spec"]["enableServiceLinks"] is False
        assert (
            template["spec"]["automountServiceAccountToken"] is False
            or chart.component(template) == "router"
        )
        for each in chart.containers(template):
            assert "memory" in each["resources"]["requests"]
            assert re.search(r"(:(?!latest)[\w.-]+|@sha256:[0-9a-f]{64})$", each["image"]), each[
                "image"
            ]


def _options(container: Object) -> set[str]:
    return {each.partition("=")[0] for each in container["args"] if each.startswith("--")}


def test_programs_know_the_options_they_are_given(objects: list[Object]) -> None:
    seen = 0
    for _, template in chart.pods(objects):
        for each in chart.containers(template):
            words = [*each.get("command", []), *each.get("args", [])]
            known = PROGRAMS.get(tuple(words[:2]))
            if known:
                flags = set((FLAGS / known).read_text(encoding="utf-8").split())
                assert _options(each) <= flags
                seen += 1
    assert seen or not _of(objects, "worker")


def test_a_stopped_router_has_the_time_that_it_takes(objects: list[Object]) -> None:
    config = chart.config(objects)
    for template in _of(objects, "router"):
        needed = config["drain_grace_s"] + config["shutdown_timeout_s"]
        assert template["spec"]["terminationGracePeriodSeconds"] >= needed + 5


def test_a_stopped_worker_serves_until_routers_know_and_then_ends_its_answers(
    objects: list[Object],
) -> None:
    for template in _of(objects, "worker"):
        [vllm] = template["spec"]["containers"]
        command = vllm["lifecycle"]["preStop"]["exec"]["command"]
        assert command[0] == "sleep"
        slept = int(command[1])
        assert slept >= 10  # DNS is looked at every 10 s, pods are watched
        shutdown = next(
            int(each.partition("=")[2])
            for each in vllm["args"]
            if each.startswith("--shutdown-timeout=")
        )
        assert shutdown > 0  # 0 breaks off what runs
        assert template["spec"]["terminationGracePeriodSeconds"] >= slept + shutdown + 5


def test_probes_ask_what_there_is_and_are_patient_with_engines(objects: list[Object]) -> None:
    for template in _of(objects, "router"):
        [router] = template["spec"]["containers"]
        probes = {
            kind: router[kind]["httpGet"]["path"]
            for kind in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        assert probes == {
            "startupProbe": "/health",
            "livenessProbe": "/health",
            "readinessProbe": "/ready",
        }
    for each in chart.of_kind(objects, "PodMonitor", "ServiceMonitor"):
        ends = each["spec"].get("podMetricsEndpoints") or each["spec"]["endpoints"]
        assert {end["path"] for end in ends} == {"/metrics"}
    for template in _of(objects, "worker"):
        [vllm] = template["spec"]["containers"]
        start, live = vllm["startupProbe"], vllm["livenessProbe"]
        assert start["periodSeconds"] * start["failureThreshold"] >= 1800
        assert live["periodSeconds"] * live["failureThreshold"] >= 180
        assert live["timeoutSeconds"] >= 30


def test_workers_publish_where_their_annotations_say(objects: list[Object]) -> None:
    for template in _of(objects, "worker"):
        [vllm] = template["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in vllm["ports"]}
        notes = template["metadata"]["annotations"]
        assert int(notes["prefix-router.io/port"]) == ports["http"]
        assert f"--port={ports['http']}" in vllm["args"]
        if "kv-events" not in ports:
            assert "prefix-router.io/kv-events-port" not in notes
            assert "--kv-events-config" not in _options(vllm)
            continue
        events = chart.option(vllm, "kv-events-config")
        assert events == {
            "enable_kv_cache_events": True,
            "publisher": "zmq",
            "endpoint": f"tcp://*:{ports['kv-events']}",
            "replay_endpoint": f"tcp://*:{ports['kv-replay']}",
        }
        assert int(notes["prefix-router.io/kv-events-port"]) == ports["kv-events"]
        assert int(notes["prefix-router.io/kv-events-replay-port"]) == ports["kv-replay"]


def test_where_clients_must_show_certificates_probes_only_connect() -> None:
    """A kubelet has none to show."""
    flags = ("--set", "router.config.tls_client_ca_file=/etc/prefix-router/tls/ca.crt")
    [template] = _of(chart.render("everything", *flags), "router")
    [router] = template["spec"]["containers"]
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert router[kind]["tcpSocket"] == {"port": "http"}
        assert "httpGet" not in router[kind]


def test_discovery_makes_workers_of_the_pods(objects: list[Object]) -> None:
    for template in _of(objects, "worker"):
        status = {
            "phase": "Running",
            "podIP": "10.0.0.7",
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        meta = {**template["metadata"], "name": "pod", "namespace": chart.NAMESPACE}
        pod = msgspec.convert({"metadata": meta, "spec": template["spec"], "status": status}, Pod)
        found = workers([pod], None)
        assert not found.wrong
        [target] = found.targets
        ports = {
            each["name"]: each["containerPort"]
            for each in template["spec"]["containers"][0]["ports"]
        }
        assert target.url == f"http://10.0.0.7:{ports['http']}"
        events = target.events and (target.events.events, target.events.replay)
        assert events == (
            (ports["kv-events"], ports["kv-replay"]) if "kv-events" in ports else None
        )


def test_gpus_are_what_the_parallelism_needs() -> None:
    def gpus(name: str) -> tuple[int, set[str]]:
        [vllm] = chart.named(chart.render("several-models"), "Deployment", f"{chart.FULL}-{name}")[
            "spec"
        ]["template"]["spec"]["containers"]
        parallel = {each for each in vllm["args"] if "parallel-size" in each}
        limits = vllm["resources"].get("limits", {})
        assert vllm["resources"]["requests"].get("nvidia.com/gpu") == limits.get("nvidia.com/gpu")
        return limits.get("nvidia.com/gpu", 0), parallel

    assert gpus("qwen-7b") == (1, set())
    assert gpus("llama-70b") == (4, {"--tensor-parallel-size=4"})
    assert gpus("deepseek") == (8, {"--data-parallel-size=8"})
    assert gpus("embed") == (0, set())


def test_what_workers_say_themselves_wins_over_the_defaults() -> None:
    """Also where it is nothing: off, no tolerations."""
    template = chart.named(chart.render("several-models"), "Deployment", f"{chart.FULL}-embed")[
        "spec"
    ]["template"]
    [vllm] = template["spec"]["containers"]
    assert "tolerations" not in template["spec"]
    assert not _options(vllm) & {"--kv-events-config", "--enable-prompt-tokens-details"}
    names = [each for each in chart.named(chart.render("several-models"), "Deployment", f"{chart.FULL}-qwen-7b")["spec"][
        "template"]["spec"]["containers"][0]["args"] if each in ("--served-model-name", "qwen-7b", "small")]  # fmt: skip
    assert names == ["--served-model-name", "qwen-7b", "small"]


def test_lmcache_on_the_node_is_found_at_the_nodes_address() -> None:
    objects = chart.render("lmcache-redis")
    [worker] = [each for each in _of(objects, "worker") if each["spec"].get("hostIPC")]
    [server] = _of(objects, "lmcache")
    [vllm], [lmcache] = worker["spec"]["containers"], server["spec"]["containers"]
    extra = chart.option(vllm, "kv-transfer-config")["kv_connector_extra_config"]
    assert extra["lmcache.mp.host"] == "tcp://$(HOST_IP)"
    assert {"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}} in vllm[
        "env"
    ]
    assert f"--port={extra['lmcache.mp.port']}" in lmcache["args"]
    assert server["spec"]["hostNetwork"] is True
    assert server["spec"]["hostIPC"] is True
    assert not [each for each in vllm["volumeMounts"] if each["mountPath"] == "/dev/shm"]
    config = chart.config(objects)
    assert f"--chunk-size={config['lmcache_chunk_tokens']}" in lmcache["args"]
    assert config["lmcache_world_size"] == 4
    coordinator = chart.named(objects, "Service", f"{chart.FULL}-coordinator")
    assert config["lmcache_coordinator"] == (
        f"http://{coordinator['metadata']['name']}.{chart.NAMESPACE}.svc:{coordinator['spec']['ports'][0]['port']}"
    )


def _environment(name: str, *flags: str) -> dict[str, str]:
    template = chart.named(chart.render("lmcache-redis", *flags), "Deployment", f"{chart.FULL}-{name}")  # fmt: skip
    [vllm] = template["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", "") for each in vllm["env"]}


def test_every_worker_names_the_same_chunk_alike() -> None:
    """LMCache within the worker's process names chunks by Python's hash, which is another one in each process."""
    assert _environment("qwen-7b")["PYTHONHASHSEED"] == "0"
    assert "PYTHONHASHSEED" not in _environment("llama-70b")
    own = ("--set-string", "workers[1].env[0].value=7", "--set", "workers[1].env[0].name=PYTHONHASHSEED")  # fmt: skip
    assert _environment("qwen-7b", *own)["PYTHONHASHSEED"] == "7"


def test_workers_of_any_user_id_can_keep_what_they_compile(objects: list[Object]) -> None:
    """It lies below HOME; and torch asks for the user's name, where an id has none."""
    for template in _of(objects, "worker"):
        [vllm] = template["spec"]["containers"]
        variables = {each["name"]: each.get("value") for each in vllm["env"]}
        mounts = {each["mountPath"] for each in vllm["volumeMounts"] if not each.get("readOnly")}
        assert variables["HOME"] in mounts
        assert variables["USER"]


def test_routers_may_wait_for_as_long_as_models_load() -> None:
    """They are not ready before."""

    def deadline(name: str) -> int:
        found = chart.named(chart.render(name), "Deployment", chart.FULL)
        return int(found["spec"]["progressDeadlineSeconds"])

    assert deadline("external-workers") == 600
    assert deadline("one-model") == 1800 + 600
    assert deadline("several-models") == 5400 + 600
