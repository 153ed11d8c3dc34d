"""The command line: help, exit codes, and what reaches the settings."""

import os
import runpy
import socket
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from router import cli as cli_module
from router.cli import cli
from router.reload import Origin
from router.settings import Settings

CONTEXT = click.Context(cli)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PREFIX_ROUTER_")]:
        monkeypatch.delenv(name)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="prefix-router")


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that `serve` would serve with."""
    settings: list[Settings] = []
    monkeypatch.setattr("router.app.serve", lambda given, **rest: settings.append(given))
    monkeypatch.setattr(cli_module, "require_free", lambda host, port: None)
    monkeypatch.setattr(cli_module, "configure_logging", lambda **rest: None)
    return settings


class TestHelp:
    @pytest.mark.parametrize("option", ["-h", "--help"])
    def test_of_the_whole(self, option: str) -> None:
        result = run(option)
        assert result.exit_code == 0
        for name in cli.commands:
            assert name in result.output

    @pytest.mark.parametrize("name", sorted(cli.commands))
    def test_of_each_command(self, name: str) -> None:
        result = run(name, "--help")
        assert result.exit_code == 0
        assert result.output.startswith(f"Usage: prefix-router {name}")
        for parameter in cli.commands[name].params:
            option = isinstance(parameter, click.Option)
            assert (
                parameter.opts[0] if option else parameter.make_metavar(CONTEXT)
            ) in result.output

    @pytest.mark.parametrize(
        ("flag", "setting"), [("--host", "host"), ("--port", "port"), ("--policy", "policy")]
    )
    def test_defaults_are_those_of_the_settings(self, flag: str, setting: str) -> None:
        help_text = " ".join(run("serve", "--help").output.split())
        default = Settings.model_fields[setting].default
        assert f"[default: {default}]" in help_text.partition(flag)[2]

    def test_without_a_command_it_helps(self) -> None:
        result = run()
        assert result.exit_code == 2
        assert "Usage: prefix-router" in result.output

    def test_its_version(self) -> None:
        result = run("--version")
        assert result.exit_code == 0
        assert result.output.startswith("prefix-router, version ")


class TestServe:
    def test_workers_are_enough(self, served: list[Settings]) -> None:
        result = run("serve", "--worker", "http://a:1", "--worker", "http://b:2")
        assert result.exit_code == 0, result.output
        assert served == [Settings(workers=["http://a:1", "http://b:2"])]

    def test_every_flag_reaches_its_setting(
        self, served: list[Settings], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("router.finding.check", lambda settings: None)  # there is no cluster
        flags: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": 0,
            "policy": "session",
            "allow-path": "/v2/*",
            "workers-file": "workers.yaml",
            "workers-dns": "http://vllm:8000",
            "kubernetes-service": "prod/vllm",
            "kubernetes-selector": "app=vllm",
            "log-format": "json",
            "log-level": "debug",
        }
        result = run("serve", *(f"--{name}={value}" for name, value in flags.items()))
        assert result.exit_code == 0, result.output
        assert served == [
            Settings(
                host="127.0.0.1",
                port=0,
                policy="session",
                allow_paths=["/v2/*"],
                workers_file="workers.yaml",
                workers_dns=["http://vllm:8000"],
                kubernetes_service="prod/vllm",
                kubernetes_selector="app=vllm",
                log_format="json",
                log_level="debug",
            )
        ]

    def test_flags_win_over_the_environment_and_that_over_the_file(
        self, served: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "router.yaml"
        file.write_text("port: 1\nhost: file\npolicy: random\n")
        monkeypatch.setenv("PREFIX_ROUTER_HOST", "environment")
        monkeypatch.setenv("PREFIX_ROUTER_POLICY", "session")
        run("serve", "--config", str(file), "--policy", "least_load")
        (settings,) = served
        assert (settings.port, settings.host, settings.policy) == (1, "environment", "least_load")

    def test_it_can_be_read_again_as_it_was_the_first_time(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        origins: list[Origin] = []
        monkeypatch.setattr("router.app.serve", lambda given, origin: origins.append(origin))
        monkeypatch.setattr(cli_module, "require_free", lambda host, port: None)
        monkeypatch.setattr(cli_module, "configure_logging", lambda **rest: None)
        file = tmp_path / "router.yaml"
        file.write_text("port: 1\n")
        run("serve", "--config", str(file), "--host", "flag")
        (origin,) = origins
        file.write_text("port: 2\nhost: file\n")
        settings = origin.load()
        assert (origin.file, settings.port, settings.host) == (file, 2, "flag")

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--port", "x"],
            ["--policy", "best"],
            ["--log-format", "xml"],
            ["--no-such-flag"],
            ["--worker", "ftp://x"],
            ["--port", "70000"],
            ["--config", "/nowhere/at/all.yaml"],
        ],
    )
    def test_mistakes_end_it_with_2(self, served: list[Settings], arguments: list[str]) -> None:
        result = run("serve", *arguments)
        assert result.exit_code == 2
        assert served == []
        assert "Traceback" not in result.output

    def test_a_mistake_names_the_flag_as_it_is_written(self, served: list[Settings]) -> None:
        result = run("serve", "--worker", "ftp://x")
        assert result.stderr.startswith("error: --worker: ")


def test_an_address_of_another_machine_is_no_matter_of_the_port() -> None:
    result = run("serve", "--host", "192.0.2.1", "--port", "0")
    assert result.exit_code == 2
    assert result.stderr.endswith("Cannot assign requested address; try another --host\n")


class TestCheck:
    def test_a_good_file(self, tmp_path: Path) -> None:
        file = tmp_path / "router.yaml"
        file.write_text("workers: [http://a:1, http://b:2]\nport: 9000\n")
        result = run("check", "--config", str(file))
        assert result.exit_code == 0
        assert result.stdout == "ok: 2 workers, policy prefix, port 9000\n"
        assert result.stderr == ""

    def test_what_is_hardly_meant_is_a_warning(self, tmp_path: Path) -> None:
        file = tmp_path / "router.yaml"
        file.write_text("workers: [http://a:1/v1]\n")
        result = run("check", "--config", str(file))
        assert result.exit_code == 0
        assert result.stderr == (
            "warning: workers: http://a:1/v1: a worker's URL ends before its /v1: http://a:1\n"
        )

    def test_no_workers_are_a_warning(self) -> None:
        result = run("check")
        assert result.exit_code == 0
        assert "warning: no workers" in result.stderr
        assert result.stdout.startswith("ok: 0 workers")

    def test_a_bad_file(self, tmp_path: Path) -> None:
        file = tmp_path / "router.yaml"
        file.write_text("worker: http://a:1\nport: x\n")
        result = run("check", "--config", str(file))
        assert result.exit_code == 2
        assert result.stdout == ""
        first, second = sorted(result.stderr.splitlines())
        assert first == f"error: {file}:1: worker: no such setting; did you mean `workers`?"
        assert second.startswith(f"error: {file}:2: port: ")

    def test_a_missing_file(self, tmp_path: Path) -> None:
        result = run("check", "--config", str(tmp_path / "none.yaml"))
        assert result.exit_code == 2
        assert "No such file" in result.stderr

    def test_the_environment_is_checked_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PREFIX_ROUTER_PORT", "x")
        result = run("check")
        assert result.exit_code == 2
        assert result.stderr.startswith("error: PREFIX_ROUTER_PORT: ")

    def test_variables_of_commands_that_ask_a_router(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PREFIX_ROUTER_URL", "http://router:8080")
        assert run("check").exit_code == 0

    def test_a_misspelt_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PREFIX_ROUTER_WORKER", "http://a:1")
        result = run("check")
        assert result.exit_code == 2
        assert result.stderr == (
            "error: PREFIX_ROUTER_WORKER: no such setting; did you mean `PREFIX_ROUTER_WORKERS`?\n"
        )

    def test_a_certificate_that_is_not_there(self, tmp_path: Path) -> None:
        file = tmp_path / "router.yaml"
        file.write_text("tls_cert_file: none.crt\ntls_key_file: none.key\n")
        result = run("check", "--config", str(file))
        assert result.exit_code == 2
        assert result.stderr.splitlines() == [
            f"error: {file}:1: tls_cert_file: 'none.crt' is not a file that can be read",
            f"error: {file}:2: tls_key_file: 'none.key' is not a file that can be read",
        ]


def test_python_m_router_is_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["router", "check", "--help"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("router", run_name="__main__")
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("Usage: prefix-router check")


@pytest.mark.parametrize(
    ("arguments", "variable", "remedy"),
    [
        (["demo", "--port", "PORT"], None, "--port"),
        (["serve", "--host", "127.0.0.1", "--port", "PORT"], None, "--port"),
        (["serve", "--host", "127.0.0.1", "--port", "0"], "PREFIX_ROUTER_ADMIN_PORT", "admin_port"),
    ],
)
def test_a_taken_port_is_said_before_anything_begins(
    arguments: list[str], variable: str | None, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.app.serve", lambda given, **rest: pytest.fail("it serves"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        if variable is not None:
            monkeypatch.setenv(variable, port)
            monkeypatch.setenv("PREFIX_ROUTER_ADMIN_HOST", "127.0.0.1")
        result = run(*(port if each == "PORT" else each for each in arguments))
    assert result.exit_code == 2
    said = f"Error: 127.0.0.1:{port}: Address already in use; try another {remedy}\n"
    assert result.stderr == said
