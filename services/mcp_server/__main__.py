from mcp_server.app import build
from telemetry import run

run(build)
