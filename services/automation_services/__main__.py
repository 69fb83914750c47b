from automation_services.app import build
from telemetry import run

run(build)
