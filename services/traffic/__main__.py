from telemetry import run
from traffic.app import build

run(build)
