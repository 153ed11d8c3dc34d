"""What annotations say, and what is said of wrong ones."""

import pytest

from router.discovery.kubernetes.annotations import Notes, read
from router.fleet.target import EventPorts, Role


def ours(**annotations: str) -> dict[str, str]:
    return {f"prefix-router.io/{k.replace('_', '-')}": v for k, v in annotations.items()}


def test_all_of_them() -> None:
    notes, wrong = read(
        ours(
            models="Qwen/Qwen3-8B, sql-lora,",
            port="8123",
            scheme="https",
            path="/v2/",
            role="prefill",
            kv_events_port="5557",
            kv_events_replay_port="5558",
            drain="true",
            server_name="gpu.example",
        )
    )
    assert wrong == {}
    assert notes == Notes(
        models=("Qwen/Qwen3-8B", "sql-lora"),
        port=8123,
        scheme="https",
        path="/v2",
        role=Role.PREFILL,
        events=EventPorts(5557, 5558),
        drain=True,
        server_name="gpu.example",
    )


@pytest.mark.parametrize("annotations", [None, {}])
def test_none(annotations: dict[str, str] | None) -> None:
    assert read(annotations) == (Notes(), {})


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("models", "", "names of models"),
        ("models", " , ", "names of models"),
        ("models", "a\nb", "names of models"),
        ("port", "http", "a number from 1 to 65535"),
        ("port", "0", "a number from 1 to 65535"),
        ("port", "65536", "a number from 1 to 65535"),
        ("port", "٣", "a number from 1 to 65535"),
        ("port", "9" * 5000, "a number from 1 to 65535"),
        ("scheme", "HTTPS", "`http` or `https`"),
        ("path", "v1", "a path as /prefix"),
        ("path", "/v1?x", "a path as /prefix"),
        ("path", "/v 1", "a path as /prefix"),
        ("role", "cook", "`both`, `prefill`, `decode`"),
        ("drain", "yes", "`true` or `false`"),
        ("kv_events_port", "-1", "a number from 1 to 65535"),
        ("server_name", "a/b", "the name of a host"),
    ],
)
def test_wrong_ones_are_not_heeded(name: str, text: str, allowed: str) -> None:
    (key,) = ours(**{name: ""})
    notes, wrong = read(
        ours(**{name: text, "drain" if name != "drain" else "port": ""}) | {key: text}
    )
    assert allowed in wrong[key]
    assert len(wrong[key]) < 250
    assert notes == Notes()


def test_right_ones_count_beside_wrong_ones() -> None:
    notes, wrong = read(ours(port="x", drain="true"))
    assert notes == Notes(drain=True)
    assert list(wrong) == ["prefix-router.io/port"]


def test_replay_needs_events() -> None:
    notes, wrong = read(ours(kv_events_replay_port="5558"))
    assert notes.events is None
    assert (
        "it needs prefix-router.io/kv-events-port"
        in wrong["prefix-router.io/kv-events-replay-port"]
    )


def test_unknown_ones() -> None:
    _, wrong = read(ours(model="a", colour="red"))
    assert "did you mean prefix-router.io/models?" in wrong["prefix-router.io/model"]
    assert "there are models, port, scheme" in wrong["prefix-router.io/colour"]
