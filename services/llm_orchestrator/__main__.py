from llm_orchestrator.app import build
from telemetry import run

run(build)
