"""The schema of the chart's values: their defaults say which there are and of what type, this says the rest."""

import json
from typing import Any

from router.settings import Settings

Json = dict[str, Any]

OF_KUBERNETES = ("affinity", "resources", "behavior", "podSecurityContext", "securityContext")
"""Tables that Kubernetes defines."""
OF_STRINGS = (
    "commonLabels",
    "labels",
    "podLabels",
    "annotations",
    "podAnnotations",
    "nodeSelector",
)
"""Tables whose names are the user's own."""

_EXACT = 2**53 - 1
"""Larger numbers helm reads as others."""

_NUMERAL = r"^-?[0-9]+(\.[0-9]+)?$"
"""`--set` makes numbers of whole ones alone."""
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
_COUNT = {"type": "integer", "minimum": 0}
_POSITIVE = {"type": "integer", "minimum": 1}
_NUMBER = {"type": ["integer", "null"], "minimum": 1}
_NAME = {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 30}
_DURATION = {"type": "string", "pattern": "^([0-9]+(ms|[smh]))+$"}
_INT_OR_PERCENT = {"anyOf": [_COUNT, {"type": "string", "pattern": "^[0-9]+%$"}]}
_SCALAR = {"type": ["string", "boolean", "number", "null"], "minimum": -_EXACT, "maximum": _EXACT}
"""Rendered as a string: that is what `--set x=true` and `--set x=1` mean."""
_ENV = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string", "minLength": 1}, "value": _SCALAR},
    },
}
_WORDS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


def _one_of(*words: str) -> Json:
    return {"type": "string", "enum": list(words)}


_PULL = _one_of("Always", "IfNotPresent", "Never")

BY_NAME: dict[str, Json] = {
    **{name: {"type": "object"} for name in OF_KUBERNETES},
    **{name: {"type": "object", "additionalProperties": _SCALAR} for name in OF_STRINGS},
    "port": _PORT,
    "httpPort": _PORT,
    "replayPort": _PORT,
    "redisPort": _PORT,
    "nodePort": {"type": ["integer", "null"], "minimum": 1, "maximum": 65535},
    "pullPolicy": _PULL,
    "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "replicas": _COUNT,
    "minReplicas": _POSITIVE,
    "maxReplicas": _POSITIVE,
    "maxUnavailable": _INT_OR_PERCENT,
    "terminationGracePeriodSeconds": _NUMBER,
    "interval": _DURATION,
    "tag": {
        "type": ["string", "integer"],  # a fraction has lost zeros by now: 1.10 is 1.1
        "minimum": 0,
        "maximum": _EXACT,
        "pattern": r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$",
    },
    "env": _ENV,
    "extraEnv": _ENV,
    "tolerations": {"type": "array", "items": {"type": "object", "properties": {"value": _SCALAR}}},
    "strategy": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "type": {"enum": ["RollingUpdate", "Recreate", None]},
            "rollingUpdate": {
                "type": ["object", "null"],
                "additionalProperties": False,
                "properties": {"maxSurge": _INT_OR_PERCENT, "maxUnavailable": _INT_OR_PERCENT},
            },
        },
    },
    "args": {"type": "array", "items": {"type": "string"}},
    "extraArgs": {"type": "array", "items": {"type": "string"}},
    "command": {"type": "array", "items": {"type": "string"}},
    "namespaces": {"type": "array", "items": {"type": "string"}},
    "ports": {"type": "array", "items": _PORT},
    "hostnames": {"type": "array", "items": {"type": "string"}},
    "loadBalancerSourceRanges": {"type": "array", "items": {"type": "string"}},
    "accessModes": {
        "type": "array",
        "items": _one_of("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"),
    },
}
"""What holds for a name wherever it stands."""

BY_PATH: dict[str, Json] = {
    "service.type": _one_of("ClusterIP", "NodePort", "LoadBalancer"),
    "service.admin.type": _one_of("ClusterIP", "NodePort", "LoadBalancer"),
    "service.externalTrafficPolicy": _one_of("", "Cluster", "Local"),
    "discovery.port": {"type": ["string", "integer"]},
    "httpRoute.timeouts": {"type": "object", "additionalProperties": {"type": "string"}},
    "httpRoute.parentRefs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
    "ingress.hosts": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["host"],
            "additionalProperties": False,
            "properties": {
                "host": {"type": "string"},
                "path": {"type": "string"},
                "pathType": _one_of("Prefix", "Exact", "ImplementationSpecific"),
            },
        },
    },
    "redis.maxmemory": {"type": "string", "pattern": "^[0-9]+([kmg]b?)?$"},
    "redis.maxmemoryPolicy": _one_of(
        "volatile-ttl", "volatile-lru", "volatile-lfu", "volatile-random",
        "allkeys-lru", "allkeys-lfu", "allkeys-random", "noeviction",
    ),
    "sidecar.config": {"$ref": "#/definitions/settings"},
    "router.config": {"$ref": "#/definitions/settings"},
    "lmcache.transferMode": _one_of("auto", "lmcache_driven", "engine_driven"),
    "lmcache.memoryGiB": {"type": "number", "exclusiveMinimum": 0},
    "extraObjects": {"type": "array", "items": {"type": ["object", "string"]}},
    "workers": {"type": "array", "items": {"$ref": "#/definitions/worker"}},
    "workerDefaults.servedModelName": _WORDS,
    "workerDefaults.gpus": _COUNT,
    "workerDefaults.dataParallel": {"type": "integer", "minimum": 1, "maximum": 64},
    "workerDefaults.maxModelLen": _NUMBER,
    "workerDefaults.role": _one_of("", "both", "prefill", "decode"),
    "workerDefaults.storage.type": _one_of("emptyDir", "pvc", "existingClaim", "hostPath", "none"),
    "workerDefaults.lmcache.mode": _one_of("off", "inProcess", "node"),
    "workerDefaults.lmcache.cpuGiB": {"type": "number", "exclusiveMinimum": 0},
    "workerDefaults.startupTimeoutSeconds": _POSITIVE,
    "workerDefaults.preStopSeconds": _POSITIVE,
    "workerDefaults.shutdownTimeoutSeconds": _POSITIVE,
    "workerDefaults.autoscaling.type": _one_of("none", "keda", "hpa"),
    "workerDefaults.autoscaling.queueDepth": _COUNT,
    "workerDefaults.autoscaling.pendingPrefillTokens": _COUNT,
    "workerDefaults.autoscaling.prometheus": {"type": "string", "pattern": "^https?://"},
}  # fmt: skip
"""What holds at one place."""


def schema(values: Json) -> Json:
    """The whole schema, of the default values."""
    table = _of("", {**values, "global": {}})
    table["properties"]["global"] = {"type": "object"}  # a parent chart's
    defaults = table["properties"]["workerDefaults"]
    worker = {
        **_without_required(defaults),
        "required": ["name", "model"],
        "properties": {
            "name": _NAME,
            "model": {"type": "string", "minLength": 1},
            **_without_required(defaults)["properties"],
        },
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of prefix-router",
        **table,
        "definitions": {"settings": settings_schema(), "worker": worker},
    }


def _without_required(table: Json) -> Json:
    """A worker says only what is other than the defaults."""
    left = {key: each for key, each in table.items() if key != "required"}
    if "properties" in left:
        left["properties"] = {
            key: _without_required(each) for key, each in left["properties"].items()
        }
    return left


def settings_schema() -> Json:
    """The router's settings as far as types say; the router itself says the rest."""
    described = Settings.model_json_schema()["properties"]
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _setting(each) for name, each in described.items()},
    }


def path_settings() -> list[str]:
    """Names of settings that name files or folders, which are not in every container."""
    described = Settings.model_json_schema()["properties"]
    return sorted(
        name for name, each in described.items() if '"format": "path"' in json.dumps(each)
    )


def _setting(described: Json) -> Json:
    found: Json = {"description": described.get("description", "")}
    kinds = {each.get("type") for each in described.get("anyOf", [described])} - {"null"}
    if kinds <= {"integer", "number"} and kinds:
        found |= {"type": ["number", "string", "null"], "pattern": _NUMERAL}
    elif kinds == {"boolean"}:
        found["type"] = ["boolean", "null"]
    elif kinds == {"array"}:
        found["type"] = ["array", "string", "null"]
    elif kinds == {"object"}:
        found["type"] = ["object", "string", "null"]
    return found


def _of(path: str, default: Any) -> Json:
    name = path.rpartition(".")[2]
    if path in BY_PATH:
        return BY_PATH[path]
    if name in BY_NAME:
        return BY_NAME[name]
    if isinstance(default, dict):
        inner = {key: _of(f"{path}.{key}" if path else key, each) for key, each in default.items()}
        sections = [
            key for key, each in default.items() if isinstance(each, dict) and key != "global"
        ]
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": inner,
            **(
                {"required": sections} if sections else {}
            ),  # `config:` with nothing behind it takes it away
        }
    return _plain(path, default)


def _plain(path: str, default: Any) -> Json:
    if isinstance(default, bool):
        return {"type": "boolean"}
    if isinstance(default, int):
        return _COUNT
    if isinstance(default, str):
        return {"type": "string"}
    if isinstance(default, list):
        return {"type": "array", "items": {"type": "object"}}
    raise TypeError(f"{path}: say in BY_PATH of what type it is")
