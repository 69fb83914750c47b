from frontend.app import build
from telemetry import run

run(build)
