"""The configuration's sources, their order, and how mistakes are explained."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from router.config_file import ConfigurationError
from router.routing.registry import POLICIES
from router.setting_sources import load
from router.settings import Settings, hub_cache

Write = Callable[[str | bytes], Path]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PREFIX_ROUTER_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str | bytes) -> Path:
        file = tmp_path / "router.yaml"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file

    return write


def problems(file: Path | None, flags: dict[str, Any] | None = None) -> list[str]:
    """What is said of a wrong configuration, without the file's folder."""
    with pytest.raises(ConfigurationError) as caught:
        load(file, flags or {})
    folder = f"{file.parent}/" if file else ""
    assert str(caught.value) == "\n".join(caught.value.problems)
    return [problem.removeprefix(folder) for problem in caught.value.problems]


class TestSources:
    def test_defaults_need_nothing(self) -> None:
        settings = load(None, {})
        assert settings == Settings()
        assert (settings.workers, settings.port, settings.policy) == ([], 8080, "prefix")

    def test_a_file(self, write: Write) -> None:
        file = write("workers:\n  - http://a:1\n  - http://b:2\nport: 9000\n")
        settings = load(file, {})
        assert settings.workers == ["http://a:1", "http://b:2"]
        assert settings.port == 9000

    @pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}\n"])
    def test_an_empty_file(self, write: Write, text: str) -> None:
        assert load(write(text), {}) == Settings()

    def test_the_environment_wins_over_the_file(
        self, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PREFIX_ROUTER_PORT", "9001")
        monkeypatch.setenv("PREFIX_ROUTER_WORKERS", "http://a:1, http://b:2,")
        settings = load(write("port: 9000\nworkers: [http://c:3]\nhost: 127.0.0.1\n"), {})
        assert settings.port == 9001
        assert settings.workers == ["http://a:1", "http://b:2"]
        assert settings.host == "127.0.0.1"

    def test_flags_win_over_the_environment(
        self, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PREFIX_ROUTER_PORT", "9001")
        settings = load(write("port: 9000\n"), {"port": 9002})
        assert settings.port == 9002

    def test_a_wrong_value_that_is_overridden_does_no_harm(self, write: Write) -> None:
        assert load(write("port: many\n"), {"port": 1}).port == 1

    def test_lists_may_be_written_with_commas(self, write: Write) -> None:
        file = write(
            "workers: http://a:1,http://b:2\nsession_headers: X-A, X-B\nallow_paths: /v2/*\n"
        )
        settings = load(file, {})
        assert settings.workers == ["http://a:1", "http://b:2"]
        assert settings.session_headers == ("X-A", "X-B")
        assert settings.allow_paths == ["/v2/*"]

    def test_other_variables_are_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PORT", "1")
        monkeypatch.setenv("PREFIX_ROUTERS", "1")
        assert load(None, {}) == Settings()

    def test_what_kubernetes_sets_beside_a_service_of_our_name_is_left_alone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in {
            "SERVICE_HOST": "10.0.0.1",
            "SERVICE_PORT": "8080",
            "SERVICE_PORT_HTTP": "8080",
            "PORT": "tcp://10.0.0.1:8080",
            "PORT_8080_TCP": "tcp://10.0.0.1:8080",
            "PORT_8080_TCP_PROTO": "tcp",
            "PORT_8080_TCP_PORT": "8080",
            "PORT_8080_TCP_ADDR": "10.0.0.1",
            "METRICS_SERVICE_HOST": "10.0.0.2",
            "METRICS_PORT": "tcp://10.0.0.2:9090",
        }.items():
            monkeypatch.setenv(f"PREFIX_ROUTER_{name}", value)
        assert load(None, {}) == Settings()

    @pytest.mark.parametrize("name", POLICIES)
    def test_every_policy_can_be_set(self, write: Write, name: str) -> None:
        assert load(write(f"policy: {name}\n"), {}).policy == name

    @pytest.mark.parametrize(
        ("text", "header"),
        [("X-Team", "x-team"), ("null", None), ("''", None), ("x_tenant", "x_tenant")],
    )
    def test_the_tenant_s_header(self, write: Write, text: str, header: str | None) -> None:
        assert load(write(f"tenant_header: {text}\n"), {}).tenant_header == header

    def test_settings_do_not_change(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            Settings().port = 1

    def test_keys_are_not_shown(self) -> None:
        settings = Settings(worker_api_key="sesame", lmcache_redis_url="redis://:sesame@host")
        assert "sesame" not in repr(settings)

    @pytest.mark.parametrize(
        ("text", "value"), [("auto", "auto"), ("off", "off"), ("'off'", "off")]
    )
    def test_events_are_followed_or_not(self, write: Write, text: str, value: str) -> None:
        assert load(write(f"kv_events: {text}\n"), {}).kv_events == value

    @pytest.mark.parametrize("key", ["sk-1\n", " sk-1", "\tsk-1\r\n", "sk-1"])
    def test_a_key_is_stripped(self, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
        monkeypatch.setenv("PREFIX_ROUTER_WORKER_API_KEY", key)
        assert load(None, {}).worker_api_key == "sk-1"


class TestByModel:
    """Settings that are for one model each."""

    @pytest.fixture
    def models(self, tmp_path: Path) -> tuple[Path, Path]:
        found = tmp_path / "one", tmp_path / "two"
        for directory in found:
            directory.mkdir()
            (directory / "chat.jinja").touch()
        return found

    def test_in_a_file(self, write: Write, models: tuple[Path, Path]) -> None:
        one, two = models
        settings = load(
            write(
                f"tokenizers:\n  org/one: {one}\n  two: {two}\n"
                f"chat_templates:\n  two: {two}/chat.jinja\n"
                "chat_template_kwargs:\n  two:\n    enable_thinking: false\n"
            ),
            {},
        )
        assert settings.tokenizers == {"org/one": one, "two": two}
        assert settings.chat_templates == {"two": two / "chat.jinja"}
        assert settings.chat_template_kwargs == {"two": {"enable_thinking": False}}

    def test_in_the_environment(
        self, models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one, two = models
        monkeypatch.setenv("PREFIX_ROUTER_TOKENIZERS", f"org/one={one}, two={two},")
        monkeypatch.setenv("PREFIX_ROUTER_CHAT_TEMPLATES", f"a=b={one}/chat.jinja")
        monkeypatch.setenv(
            "PREFIX_ROUTER_CHAT_TEMPLATE_KWARGS", '{"m": {"enable_thinking": false}}'
        )
        settings = load(None, {})
        assert settings.tokenizers == {"org/one": one, "two": two}
        assert settings.chat_templates == {"a=b": one / "chat.jinja"}
        assert settings.chat_template_kwargs == {"m": {"enable_thinking": False}}

    @pytest.mark.parametrize("name", ["tokenizers", "chat_templates"])
    @pytest.mark.parametrize("value", ["", " , "])
    def test_none_at_all(self, name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(f"PREFIX_ROUTER_{name.upper()}", value)
        assert load(None, {}) == Settings()

    @pytest.mark.parametrize("value", ["m", "m=", "=/x", " =/x", "m=/,n", "m:/x"])
    @pytest.mark.parametrize("name", ["tokenizers", "chat_templates"])
    def test_pairs_that_are_none(
        self, name: str, value: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(f"PREFIX_ROUTER_{name.upper()}", value)
        assert problems(None) == [
            f"PREFIX_ROUTER_{name.upper()}: {name}: must be `model=/path`, several with commas"
        ]

    def test_what_is_not_there(self, write: Write, models: tuple[Path, Path]) -> None:
        one, _ = models
        file = write(
            f"tokenizers:\n  a: {one}\n  b: {one}/chat.jinja\n"
            f"chat_templates:\n  a: {one}/chat.jinja\n  b: {one}\n"
        )
        assert problems(file) == [
            f"router.yaml:3: tokenizers.b: '{one}/chat.jinja' is not a directory",
            f"router.yaml:6: chat_templates.b: '{one}' is not a file that can be read",
        ]

    def test_arguments_that_are_no_json(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PREFIX_ROUTER_CHAT_TEMPLATE_KWARGS", "m={}")
        (problem,) = problems(None)
        assert problem.startswith(
            "PREFIX_ROUTER_CHAT_TEMPLATE_KWARGS: chat_template_kwargs: must be JSON: Expecting value"
        )

    @pytest.mark.parametrize("value", ["[]", '{"m": 5}', '"text"', "5"])
    def test_arguments_of_another_shape(self, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PREFIX_ROUTER_CHAT_TEMPLATE_KWARGS", value)
        (problem,) = problems(None)
        assert problem.endswith("Input should be a valid dictionary")

    @pytest.mark.parametrize(
        ("variables", "place"),
        [
            ({}, "{home}/.cache/huggingface/hub"),
            ({"HF_HOME": "/hf"}, "/hf/hub"),
            ({"HF_HOME": "/hf", "HF_HUB_CACHE": "/hub"}, "/hub"),
            ({"HF_HUB_CACHE": "/hub", "PREFIX_ROUTER_HUB_CACHE_DIR": "/mine"}, "/mine"),
        ],
    )
    def test_where_the_cache_of_the_hub_is(
        self, variables: dict[str, str], place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("HF_HOME", "HF_HUB_CACHE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert hub_cache(load(None, {})) == Path(place.format(home=Path.home()))


class TestPatience:
    """How long workers may take, and what becomes of those that fail."""

    def test_what_is_usual(self, write: Write) -> None:
        usual = load(write(""), {})
        assert (usual.first_byte_timeout_s, usual.idle_timeout_s) == (600.0, 300.0)
        assert (usual.total_timeout_s, usual.connect_timeout_s) == (3600.0, 5.0)
        assert (usual.eject_failures, usual.eject_s, usual.retry_budget) == (5, 5.0, 0.2)
        assert (usual.resume, usual.finish_abandoned_s) == ("off", 0.0)

    @pytest.mark.parametrize(
        "text",
        [
            "first_byte_timeouts:\n  embeddings: 30\n  chat_completions: 5.5\n",
            "first_byte_timeouts: embeddings=30, chat_completions=5.5\n",
        ],
    )
    def test_endpoints_may_have_their_own(self, write: Write, text: str) -> None:
        found = load(write(text), {}).first_byte_timeouts
        assert found == {"embeddings": 30.0, "chat_completions": 5.5}

    def test_also_in_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PREFIX_ROUTER_FIRST_BYTE_TIMEOUTS", "embeddings=30")
        assert load(None, {}).first_byte_timeouts == {"embeddings": 30.0}

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ("embedings=3", "no endpoint is called 'embedings'"),
            ("embeddings=0", "must be more than 0"),
            ("embeddings=-1", "must be more than 0"),
            ("embeddings=x", "number"),
            ("embeddings:30", "endpoint=seconds"),
            ("embeddings", "endpoint=seconds"),
            ("embeddings=", "endpoint=seconds"),
            ("=30", "endpoint=seconds"),
            ("embeddings=30,score", "endpoint=seconds"),
        ],
    )
    def test_what_is_no_endpoint_s_time(
        self, monkeypatch: pytest.MonkeyPatch, value: str, said: str
    ) -> None:
        monkeypatch.setenv("PREFIX_ROUTER_FIRST_BYTE_TIMEOUTS", value)
        assert said in " ".join(problems(None))

    @pytest.mark.parametrize(
        ("text", "value"),
        [("on", "on"), ("off", "off"), ("'on'", "on"), ("true", "on"), ("no", "off")],
    )
    def test_resuming_is_on_or_off(self, write: Write, text: str, value: str) -> None:
        """Words that YAML takes for truth values."""
        assert load(write(f"resume: {text}\n"), {}).resume == value

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("resume: exact", "resume"),
            ("retry_budget: 1.5", "retry_budget"),
            ("retry_budget: -0.1", "retry_budget"),
            ("eject_failures: 0", "eject_failures"),
            ("eject_s: 0", "eject_s"),
            ("first_byte_timeout_s: 0", "first_byte_timeout_s"),
            ("idle_timeout_s: 0", "idle_timeout_s"),
            ("total_timeout_s: -1", "total_timeout_s"),
            ("finish_abandoned_s: -1", "finish_abandoned_s"),
        ],
    )
    def test_values_that_make_no_sense(self, write: Write, text: str, said: str) -> None:
        assert said in " ".join(problems(write(text + "\n")))


class TestMistakes:
    def test_a_value_is_placed_by_file_and_line(self, write: Write) -> None:
        file = write("# comment\nhost: localhost\nport: 99999\n")
        assert problems(file) == [
            "router.yaml:3: port: Input should be less than or equal to 65535"
        ]

    def test_an_item_of_a_list_is_placed_by_its_own_line(self, write: Write) -> None:
        file = write("workers:\n  - http://a:1\n  - ftp://b\n")
        assert problems(file) == [
            "router.yaml:3: workers.1: 'ftp://b': the scheme must be http or https"
        ]

    def test_all_mistakes_are_told_at_once(self, write: Write) -> None:
        file = write("port: x\npolicy: best\nbody_limit: 0\n")
        found = problems(file)
        assert len(found) == 3
        assert {problem.split(": ")[0] for problem in found} == {
            "router.yaml:1",
            "router.yaml:2",
            "router.yaml:3",
        }

    @pytest.mark.parametrize(
        ("name", "meant"),
        [("worker", "workers"), ("polcy", "policy"), ("worker-api-key", "worker_api_key")],
    )
    def test_a_misspelt_name_is_recognised(self, write: Write, name: str, meant: str) -> None:
        assert problems(write(f"host: h\n{name}: x\n")) == [
            f"router.yaml:2: {name}: no such setting; did you mean `{meant}`?"
        ]

    def test_a_name_like_no_other(self, write: Write) -> None:
        assert problems(write("zzz: 1\n")) == ["router.yaml:1: zzz: no such setting"]

    def test_a_mistake_in_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PREFIX_ROUTER_PORT", "many")
        (problem,) = problems(None)
        assert problem.startswith("PREFIX_ROUTER_PORT: port: Input should be a valid integer")

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("POLCY", "; did you mean `PREFIX_ROUTER_POLICY`?"),
            ("WORKER", "; did you mean `PREFIX_ROUTER_WORKERS`?"),
            ("port", ""),
        ],
    )
    def test_a_misspelt_variable_is_recognised(
        self, monkeypatch: pytest.MonkeyPatch, name: str, hint: str
    ) -> None:
        monkeypatch.setenv(f"PREFIX_ROUTER_{name}", "1")
        (problem,) = problems(None)
        assert problem.startswith(f"PREFIX_ROUTER_{name}: no such setting{hint}")

    def test_misspelt_variables_are_told_with_all_else(
        self, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PREFIX_ROUTER_POLCY", "1")
        assert len(problems(write("port: x\n"))) == 2

    @pytest.mark.parametrize(
        "key", ["a b", "sk-é", "a\x00b", "a\r\nx-evil: 1", "a\tb", "a\u2028b", "a\x7f"]
    )
    def test_a_key_that_no_header_can_carry(self, key: str) -> None:
        assert problems(None, {"worker_api_key": key}) == [
            "--worker-api-key: worker_api_key: the key must be printable ASCII without spaces"
        ]

    @pytest.mark.parametrize("name", ["admin_key", "worker_api_key", "fallback_api_key"])
    @pytest.mark.parametrize("key", ["", " \n"])
    def test_a_key_that_is_empty(self, key: str, name: str) -> None:
        """As of a variable that nobody set: it would lock everybody out, or let everybody in."""
        told = problems(None, {name: key})
        assert (
            f"--{name.replace('_', '-')}: {name}: is empty: leave it out where there is no key"
            in told
        )

    @pytest.mark.parametrize(
        "key", ["${VLLM_API_KEY}", "$KEY", "$(KEY)", "${KEY:-x}", "{{ .key }}"]
    )
    def test_a_key_that_is_a_place_holder(self, key: str) -> None:
        """Nobody puts in what it stands for."""
        for name, value in (
            ("admin_key", key.replace(" ", "")),
            ("api_keys", {"a": key.replace(" ", "")}),
        ):
            (told,) = problems(None, {name: value})
            assert "stands for a key, and nobody puts that in here" in told

    @pytest.mark.parametrize("key", ["$2b$10$abc", "a${b}", "$", "sk-$KEY"])
    def test_a_key_with_such_signs(self, key: str) -> None:
        assert Settings(admin_key=key).admin_key == key

    def test_a_client_s_key_that_is_the_administrator_s(self) -> None:
        (told,) = problems(None, {"admin_key": "k", "api_keys": {"a": ["x", "k"]}})
        assert told.endswith("admin_key is a client's key as well: have a key of its own")

    def test_namespaces_without_anything_to_look_for(self) -> None:
        (told,) = problems(None, {"kubernetes_namespaces": ["llm"]})
        assert "kubernetes_namespaces needs kubernetes_service" in told

    @pytest.mark.parametrize("url", ["http://a:0", "https://a:0/x", "a:0", "http://[::1]:00/"])
    def test_a_worker_on_port_0(self, write: Write, url: str) -> None:
        assert problems(write(f"workers: ['{url}']\n")) == [
            f"router.yaml:1: workers.0: {url!r}: no worker listens on port 0"
        ]

    @pytest.mark.parametrize(
        ("one", "other", "name"),
        [
            ("http://a:1", "http://a:1", "a:1"),
            ("http://a:1", "a:1/", "a:1"),
            ("http://a", "http://A:80", "a:80"),
            ("http://a:443", "https://a", "a:443"),
            ("http://a:1/x", "http://a:1/x/", "a:1/x"),
        ],
    )
    def test_a_worker_given_twice(self, write: Write, one: str, other: str, name: str) -> None:
        file = write(f"port: 1\nworkers: [{one}, http://b:2, {other}]\n")
        assert problems(file) == [
            f"router.yaml:2: workers: {one!r} and {other!r} are the same worker, {name}"
        ]

    def test_workers_that_differ_in_port_or_path(self) -> None:
        urls = ["http://a:1", "http://a:2", "http://a:1/x", "http://a:1/y"]
        assert load(None, {"workers": urls}).workers == urls

    def test_a_name_given_twice(self, write: Write) -> None:
        file = write("port: 1\nhost: a\nport: 2\n'host': b\n")
        assert problems(file) == [
            "router.yaml:3: port: given a second time",
            "router.yaml:4: host: given a second time",
        ]

    @pytest.mark.parametrize("name", ["worker_ca_file", "tls_cert_file", "tls_key_file"])
    def test_a_file_that_cannot_be_read(self, write: Write, tmp_path: Path, name: str) -> None:
        for path in (tmp_path / "none.pem", tmp_path, tmp_path / "router.yaml" / "x"):
            assert problems(write(f"{name}: {path}\n")) == [
                f"router.yaml:1: {name}: '{path}' is not a file that can be read"
            ]

    def test_files_that_are_there(self, write: Write, tmp_path: Path) -> None:
        pem = tmp_path / "a.pem"
        pem.touch()
        names = ("worker_ca_file", "tls_cert_file", "tls_key_file")
        settings = load(write("".join(f"{name}: {pem}\n" for name in names)), {})
        assert [getattr(settings, name) for name in names] == [pem] * 3

    def test_a_mistake_in_a_flag(self, write: Write) -> None:
        (problem,) = problems(write("port: 1\n"), {"port": 70000})
        assert problem.startswith("--port: port: ")

    @pytest.mark.parametrize(
        ("name", "value", "flag"),
        [("workers", ["ftp://x"], "--worker"), ("allow_paths", [1], "--allow-path")],
    )
    def test_a_flag_is_named_as_it_is_written(self, name: str, value: list[Any], flag: str) -> None:
        (problem,) = problems(None, {name: value})
        assert problem.startswith(f"{flag}: ")

    def test_an_unknown_policy(self, write: Write) -> None:
        (problem,) = problems(write("policy: prefiks\n"))
        assert problem == f"router.yaml:1: policy: no such policy; there are {', '.join(POLICIES)}"

    def test_what_goes_together(self, write: Write) -> None:
        pem = write("")
        assert problems(write(f"tls_cert_file: {pem}\n")) == [
            "router.yaml: tls_cert_file and tls_key_file go together"
        ]
        assert problems(None, {"tls_key_file": str(pem)}) == [
            "configuration: tls_cert_file and tls_key_file go together"
        ]

    @pytest.mark.parametrize(
        "setting",
        [
            "body_limit: 0",
            "keep_alive_s: 0",
            "worker_idle_s: -1",
            "connect_timeout_s: 0",
            "health_interval_s: 0",
            "health_timeout_s: 0",
            "models_interval_s: 0",
            "default_kv_tokens: 0",
            "index_max_blocks: 0",
            "shutdown_timeout_s: 0",
            "room_tokens: 0",
            "max_inflight: 0",
            "queue_limit: -1",
            "queue_timeout_s: 0",
            "metrics_interval_s: 0",
            "tenant_header: a b",
            "policy: 5",
            "port: -1",
            "log_format: xml",
            "log_level: loud",
            "workers: 5",
            "workers: [1]",
            "host: [a]",
            "kv_events: 'on'",
            "kv_events_ranks: 0",
            "token_deadline_s: 0",
            "tokenizers: [a]",
            "chat_templates: 5",
            "chat_template_kwargs: [a]",
            "hub_cache_dir: 5",
            "lmcache_coordinator: 'ftp://a'",
            "lmcache_chunk_tokens: 0",
            "lmcache_deadline_s: 0",
        ],
    )
    def test_values_out_of_range(self, write: Write, setting: str) -> None:
        (problem,) = problems(write(setting + "\n"))
        assert problem.startswith("router.yaml:1: ")

    @pytest.mark.parametrize("text", ["1: x\n", "on: x\n", "~: x\n"])
    def test_names_that_yaml_does_not_take_for_text(self, write: Write, text: str) -> None:
        (problem,) = problems(write(text))
        assert problem.startswith("router.yaml:1: ")
        assert "no such setting" in problem

    def test_an_anchor_inside_itself(self, write: Write) -> None:
        (problem,) = problems(write("workers: &w [*w]\n"))
        assert problem.startswith("router.yaml")

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        (problem,) = problems(tmp_path / "none.yaml")
        assert problem == "none.yaml: No such file or directory"
