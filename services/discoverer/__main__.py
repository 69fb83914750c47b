from discoverer.app import build
from telemetry import run

run(build)
