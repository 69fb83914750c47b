import os
import subprocess
import sys
from pathlib import Path

import pytest

from telemetry import Settings, SettingsError
from tests.unit.services.helpers import ENVIRONMENT

SERVICES = Path(__file__).parents[3] / "services"


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^OTEL_SERVICE_NAME is required"):
        Settings.load({**ENVIRONMENT, "OTEL_SERVICE_NAME": ""})


def test_the_name_of_the_service_is_enough() -> None:
    found = Settings.load({"OTEL_SERVICE_NAME": "shop"})
    assert found == Settings(service="shop", environ=found.environ)
    assert (found.port, found.version, found.keep_ratio, found.otlp_endpoint) == (8000, "unknown", 0.1, None)


def test_version_and_revision_are_resource_attributes() -> None:
    attributes = "service.version=1.2%2C3, vcs.ref.head.revision=abc,deployment.environment.name=test"
    found = Settings.load({"OTEL_SERVICE_NAME": "shop", "OTEL_RESOURCE_ATTRIBUTES": attributes})
    assert (found.version, found.revision) == ("1.2,3", "abc")
    assert found.resource["deployment.environment.name"] == "test"


@pytest.mark.parametrize(
    ("sampler", "argument", "share"),
    [
        ("", "0.25", 0.25),
        ("parentbased_traceidratio", "0.5", 0.5),
        ("traceidratio", "", 0.1),
        ("always_on", "0.5", 1.0),
        ("parentbased_always_off", "", 0.0),
    ],
)
def test_the_share_of_traces_is_that_of_the_sampler(sampler: str, argument: str, share: float) -> None:
    environ = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}
    assert Settings.load({**ENVIRONMENT, **environ}).keep_ratio == share


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "http"),
        ("PORT", "1.5"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_TRACES_SAMPLER_ARG", "-1"),
        ("PORT", "nan"),
        ("PORT", "70000"),
        ("PORT", "7e4"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.version"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable}={value}: "):
        Settings.load({**ENVIRONMENT, variable: value})


def test_an_upstream_is_named_by_its_service() -> None:
    settings = Settings.load({**ENVIRONMENT, "UPSTREAM_API_GATEWAY": "http://api-gateway:7000/"})
    assert settings.upstream("api-gateway") == "http://api-gateway:7000"
    with pytest.raises(SettingsError, match="UPSTREAM_MCP_SERVER is required"):
        settings.upstream("mcp-server")


def test_a_secret_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    settings = Settings.load({**ENVIRONMENT, "TOKEN_FILE": str(path)})
    with pytest.raises(SettingsError, match=r"^TOKEN_FILE=.*No such file"):
        settings.secret("TOKEN_FILE")
    path.write_text("\n")
    with pytest.raises(SettingsError, match="empty"):
        settings.secret("TOKEN_FILE")
    path.write_text("hunter2\n")
    assert settings.secret("TOKEN_FILE") == "hunter2"
    assert settings.optional_secret("OTHER_FILE") is None


@pytest.mark.parametrize("package", ["frontend", "container_exporter", "engine_proxy"])
def test_a_process_without_its_settings_says_so_in_one_line_and_exits_with_2(package: str) -> None:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SERVICES)}
    done = subprocess.run([sys.executable, "-m", package], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "is required" in done.stderr


@pytest.mark.parametrize(
    ("text", "minimum", "right"),
    [("3", 1, True), ("0", 0, True), ("0", 1, False), ("1.5", 0, False), ("1000000.5", 0, False)],
)
def test_a_whole_number_has_no_fraction_and_its_minimum(text: str, minimum: int, right: bool) -> None:
    settings = Settings.load({**ENVIRONMENT, "ROOM": text})
    if right:
        assert settings.whole_number("ROOM", minimum=minimum) == int(text)
    else:
        with pytest.raises(SettingsError, match=f"^ROOM={text}: must be a whole number of at least {minimum}$"):
            settings.whole_number("ROOM", minimum=minimum)
