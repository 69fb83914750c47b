"""contract.yaml names only what the services register, with its type."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.services.helpers import MakeTelemetry

SERVICES = Path(__file__).parents[3] / "services"
CONTRACT: dict[str, list[dict[str, Any]]] = yaml.safe_load((SERVICES / "contract.yaml").read_text())
NAMES = [name for name in CONTRACT if name != "all"]


@pytest.mark.parametrize("service", NAMES)
def test_a_service_registers_every_metric_of_its_contract(
    service: str, make_telemetry: MakeTelemetry, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("hunter2")
    environ = {f"UPSTREAM_{name.upper().replace('-', '_')}": "http://127.0.0.1:1" for name in [*NAMES, "simulators"]}
    environ |= {
        "OTEL_SERVICE_NAME": service,
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "DATABASE_URL": "postgresql://lookout@127.0.0.1:1/lookout",
        "PLATFORM_ADMIN_FILE": str(tmp_path / "secret"),
        "WEBHOOK_SECRET_FILE": str(tmp_path / "secret"),
        "PROVIDER_API_KEY_FILE": str(tmp_path / "secret"),
        "AIRTABLE_TOKEN_FILE": str(tmp_path / "secret"),
    }
    telemetry = make_telemetry(**environ)
    importlib.import_module(service.replace("-", "_") + ".app").build(telemetry)
    registered = {metric.name: metric.type for metric in telemetry.metrics.registry.collect()}
    promised = {m["name"].removesuffix("_total"): m["type"] for m in [*CONTRACT["all"], *CONTRACT[service]]}
    assert {name: registered.get(name) for name in promised} == promised
