from airtable_gateway.app import build
from telemetry import run

run(build)
