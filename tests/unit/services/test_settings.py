import os
import subprocess
import sys
from pathlib import Path

import pytest

from telemetry import Settings, SettingsError
from tests.unit.services.helpers import ENVIRONMENT

SERVICES = Path(__file__).parents[3] / "services"


@pytest.mark.parametrize("variable", sorted(ENVIRONMENT))
def test_a_missing_variable_is_named(variable: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} is required"):
        Settings.load({**ENVIRONMENT, variable: ""})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "http"),
        ("PORT", "1.5"),
        ("TRACE_KEEP_RATIO", "2"),
        ("TRACE_KEEP_RATIO", "-1"),
        ("PORT", "nan"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable}="):
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


@pytest.mark.parametrize("package", ["frontend", "container_exporter"])
def test_a_process_without_its_settings_says_so_in_one_line_and_exits_with_2(package: str) -> None:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SERVICES)}
    done = subprocess.run([sys.executable, "-m", package], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "is required" in done.stderr
