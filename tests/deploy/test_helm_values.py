"""Values that are wrong are refused in words; what is only unwise is said after the installation."""

import json
import re

import pytest

from tests.deploy import chart

WRONG = {
    "an unknown value": (["router.replica=3"], "additional properties 'replica' not allowed"),
    "an unknown setting": (["router.config.polcy=prefix"], "additional properties 'polcy' not allowed"),
    "a section without anything": (["router.config=null"], "missing property 'config'"),
    "a setting of another type": (["router.config.queue_limit=many"], "'many' does not match pattern"),
    "a worker without a model": (["workers[0].name=a"], "missing property 'model'"),
    "a worker without a name": (["workers[0].model=a"], "missing property 'name'"),
    "a worker's name with a dot": (["workers[0].name=a.b", "workers[0].model=m"], "does not match pattern"),
    "an unknown value of a worker": (
        ["workers[0].name=a", "workers[0].model=m", "workers[0].gpu=1"],
        "additional properties 'gpu' not allowed",
    ),
    "two workers of a name": (
        ["workers[0].name=a", "workers[0].model=m", "workers[1].name=a", "workers[1].model=n"],
        "workers (a): the name is given twice",
    ),
    "a worker called like something else": (
        ["workers[0].name=redis", "workers[0].model=m"],
        "workers (redis): something of the release is called so already; choose another name",
    ),
    "a key in the configuration": (
        ["router.config.admin_key=secret"],
        "router.config.admin_key: is set by auth.adminKey; leave it out here",
    ),
    "the port in the configuration": (
        ["router.config.port=80"],
        "router.config.port: is set by router.port; leave it out here",
    ),
    "no workers at all": (["router.config.workers=[]"], "the router has no workers: set router.config.workers,"),
    "a sidecar without a Redis": (
        ["sidecar.print=true"],
        "a sidecar needs the Redis that it hears of workers through; set redis.url or redis.enabled",
    ),
    "two Redis": (
        ["redis.enabled=true", "redis.url.value=redis://r:6379"],
        "redis.enabled and redis.url: use the release's own Redis or another one",
    ),
    "a Redis policy that is none": (["redis.maxmemoryPolicy=lru"], "value must be one of"),
    "less grace than a router takes": (
        ["router.terminationGracePeriodSeconds=60"],
        "drain_grace_s and shutdown_timeout_s need at least 135",
    ),
    "less grace than a worker takes": (
        ["workers[0].name=a", "workers[0].model=m", "workers[0].terminationGracePeriodSeconds=30"],
        "preStopSeconds and shutdownTimeoutSeconds need at least 140",
    ),
    "answers that are broken off": (
        ["workers[0].name=a", "workers[0].model=m", "workers[0].shutdownTimeoutSeconds=0"],
        "minimum: got 0, want 1",
    ),
    "scaling to nothing": (
        ["workers[0].name=a", "workers[0].model=m", "workers[0].autoscaling.minReplicas=0"],
        "minimum: got 0, want 1",
    ),
    "scaling by nothing": (
        ["workers[0].name=a", "workers[0].model=m", "workers[0].autoscaling.type=keda",
         "workers[0].autoscaling.queueDepth=0", "workers[0].autoscaling.pendingPrefillTokens=0"],
        "workers (a): autoscaling has nothing to go by: set queueDepth or pendingPrefillTokens",
    ),
    "a model that no selector can have": (
        ["workers[0].name=a", "workers[0].model=org/m", "workers[0].autoscaling.type=hpa"],
        "cannot stand in a selector; set a servedModelName",
    ),
    "ranks that publish on the replay's ports": (
        ["workers[0].name=a", "workers[0].model=m", "workers[0].dataParallel=8", "workers[0].kvEvents.replayPort=5558"],
        "workers (a): kvEvents.replayPort: 8 data-parallel ranks publish on ports from kvEvents.port on",
    ),
    "ranks whose replay is among the ports they publish on": (
        ["workers[0].name=a", "workers[0].model=m", "workers[0].dataParallel=2", "workers[0].kvEvents.port=5700",
         "workers[0].kvEvents.replayPort=5699"],
        "choose one that is at least 2 away",
    ),
    "events and replay on one port": (
        ["workers[0].name=a", "workers[0].model=m", "workers[0].kvEvents.replayPort=5557"],
        "choose one that is at least 1 away",
    ),
    "events on the port of requests": (
        ["workers[0].name=a", "workers[0].model=m", "workers[0].kvEvents.port=8000"],
        "workers (a): kvEvents.port: 1 data-parallel ranks from 8000 on take the port 8000 of requests",
    ),
    "replay that reaches the port of requests": (
        ["workers[0].name=a", "workers[0].model=m", "workers[0].dataParallel=8", "workers[0].kvEvents.replayPort=7993"],
        "workers (a): kvEvents.replayPort: 8 data-parallel ranks from 7993 on take the port 8000 of requests",
    ),
    "the admin port on the other one": (
        ["router.port=8081", "router.admin.enabled=true"],
        "router.admin.port: must be another one than router.port",
    ),
    "more routers at least than at most": (
        ["router.autoscaling.enabled=true", "router.autoscaling.minReplicas=5", "router.autoscaling.maxReplicas=2"],
        "router.autoscaling.maxReplicas is below minReplicas",
    ),
    "a node's port without one": (["service.nodePort=30080"], "service.nodePort: needs service.type NodePort or LoadBalancer"),
    "a policy for traffic from outside without any": (
        ["service.externalTrafficPolicy=Local"],
        "service.externalTrafficPolicy: needs service.type NodePort or LoadBalancer",
    ),
    "a load balancer's class without one": (
        ["service.type=NodePort", "service.loadBalancerClass=nlb"],
        "service.loadBalancerClass: needs service.type LoadBalancer",
    ),
    "a load balancer's sources without one": (
        ["service.loadBalancerSourceRanges={10.0.0.0/8}"],
        "service.loadBalancerSourceRanges: needs service.type LoadBalancer",
    ),
    "a strategy that is none": (["router.strategy.type=BlueGreen"], "value must be one of"),
    "an update that no pod may begin": (
        ["router.strategy.rollingUpdate.maxSurge=0"],
        "router.strategy.rollingUpdate: maxSurge and maxUnavailable are both 0",
    ),
    "an update that no worker may begin": (
        ["workers[0].name=a", "workers[0].model=m", "workerDefaults.strategy.rollingUpdate.maxUnavailable=0%"],
        "workers (a): strategy.rollingUpdate: maxSurge and maxUnavailable are both 0",
    ),
    "two keys of one name": (
        ["auth.adminKey.value=a", "auth.apiKeys.value=b", "auth.adminKey.key=k", "auth.apiKeys.key=k"],
        'has the key "k" in the same Secret; choose another one',
    ),
    "a sidecar's Redis in its configuration": (
        ["sidecar.config.redis_url=redis://r"],
        "sidecar.config.redis_url: is set by redis.url or redis.enabled; leave it out here",
    ),
    "a variable without a name": (["router.extraEnv[0].value=a"], "missing property 'name'"),
    "LMCache on nodes that have none": (
        ["workers[0].name=a", "workers[0].model=m", "workers[0].lmcache.mode=node"],
        "workers (a): lmcache.mode node needs lmcache.enabled",
    ),
    "a claim without a name": (
        ["workers[0].name=a", "workers[0].model=m", "workers[0].storage.type=existingClaim"],
        "workers (a): storage.existingClaim: say which claim",
    ),
    "two selectors": (
        ["workers[0].name=a", "workers[0].model=m", "discovery.selector=app=vllm"],
        "give other pods the label prefix-router.io/pool=rel-prefix-router",
    ),
    "scraping twice": (
        ["monitoring.podMonitor.enabled=true", "monitoring.serviceMonitor.enabled=true"],
        "every router would be scraped twice; enable one of the two",
    ),
    "an Ingress without hosts": (["ingress.enabled=true"], "ingress.hosts: is empty; say which host"),
    "a route without a Gateway": (["httpRoute.enabled=true"], "httpRoute.parentRefs: is empty; say which Gateway"),
    "a Secret and a value": (
        ["auth.adminKey.existingSecret=a", "auth.adminKey.value=b"],
        "auth.adminKey: has an existingSecret and a value; use one of the two",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_values_are_refused(case: str) -> None:
    values, message = WRONG[case]
    flags = [
        flag for each in values for flag in ("--set-json" if each.endswith("[]") else "--set", each)
    ]
    said = chart.fails("external-workers", *flags)
    assert message in " ".join(said.split())


def _notes(*values: str) -> str:
    flags = [flag for each in values for flag in ("--set", each)]
    done = chart.run(
        "install", "rel", chart.CHART, "--dry-run=client", "-n", chart.NAMESPACE,
        "-f", chart.values_of("external-workers"), *flags,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]


def test_notes_say_what_to_do_next() -> None:
    notes = _notes()
    assert "kubectl -n llm port-forward service/rel-prefix-router 8080:80" in notes
    assert "curl http://localhost:8080/v1/models\n" in notes
    assert "http://rel-prefix-router.llm.svc:80/v1" in notes
    assert "Authorization" not in notes
    assert '-H "Authorization: Bearer $KEY"' in _notes("auth.apiKeys.existingSecret=keys")


def test_notes_say_where_console_and_workers_are() -> None:
    notes = _notes()
    assert "Console: http://localhost:8080/\n" in notes
    command = "kubectl -n llm exec deployment/rel-prefix-router -c router -- prefix-router workers"
    assert f"{command} --router http://127.0.0.1:8080\n" in notes
    notes = _notes("router.admin.enabled=true", "auth.adminKey.value=k")
    assert "port-forward service/rel-prefix-router-admin 8081:8081" in notes
    assert "http://localhost:8081/, with the admin key\n" in notes
    assert f"{command} --router http://127.0.0.1:8081\n" in notes
    notes = _notes("router.tls.existingSecret=tls", "service.port=443")
    assert "Console: https://localhost:8080/\n" in notes
    assert "prefix-router workers --router https://rel-prefix-router.llm.svc:443," in notes


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        (["router.replicas=2"], "several routers and no Redis"),
        ([], "whoever reaches the Service can see and drain workers"),
        (["service.type=LoadBalancer"], "of type LoadBalancer and clients need no key"),
        (
            ["rbac.create=false", "discovery.service=vllm"],
            "must be allowed to get, list and watch pods",
        ),
        (
            ["rbac.create=false", "router.config.kubernetes_routers=app=x"],
            "must be allowed to get, list and watch pods",
        ),
        (
            ["networkPolicy.enabled=true", "router.config.otlp_endpoint=http://collector:4318"],
            "no network policy lets the router reach http://collector:4318",
        ),
        (["workers[0].name=a", "workers[0].model=m"], "a loads its model anew at each start"),
        (
            [
                "workers[0].name=a",
                "workers[0].model=m",
                "workers[0].replicas=4",
                "workers[0].autoscaling.type=keda",
            ],
            "a is scaled between 1 and 4; its replicas (4) count no more",
        ),
        (["lmcache.enabled=true"], "LMCache's server is to run on every node"),
        (
            [
                "router.tls.existingSecret=tls",
                "httpRoute.enabled=true",
                "httpRoute.parentRefs[0].name=gateway",
            ],
            "add a BackendTLSPolicy for the Service rel-prefix-router",
        ),
    ],
)
def test_notes_warn(values: list[str], warning: str) -> None:
    assert warning in _notes(*values)


def test_notes_do_not_warn_of_what_is_well() -> None:
    assert "WARNING" not in _notes("router.admin.enabled=true", "auth.apiKeys.existingSecret=keys")


def _in_schema(path: str, schema: chart.Object) -> bool:
    for step in path.split("."):
        if step not in schema.get("properties", {}):
            return False
        schema = schema["properties"][step]
    return True


def test_the_readmes_table_has_every_value_and_no_other() -> None:
    schema = json.loads((chart.CHART / "values.schema.json").read_text(encoding="utf-8"))
    readme = (chart.CHART / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*) \| (?!---)", readme, re.MULTILINE)
    named = [path for row in rows for path in re.findall(r"`([^`]+)`", row)]
    assert not [path for path in named if not _in_schema(path, schema)]
    whole = {path for path in named if "." not in path}
    parts = {
        f"{name}.{inner}"
        for name, section in schema["properties"].items()
        for inner in section.get("properties", {})
        if name not in whole
    }
    said = {".".join(path.split(".")[:2]) for path in named}
    assert parts <= said
    assert schema["properties"].keys() - {"global"} == {path.partition(".")[0] for path in named}
