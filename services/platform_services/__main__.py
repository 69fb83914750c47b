from platform_services.app import build
from telemetry import run

run(build)
