"""Clients of the LLM providers, shared by llm-orchestrator and mcp-server: what they ask is counted by each."""

from llm_providers.accounts import Accounts
from llm_providers.catalogue import DEFAULT, MODELS, Model
from llm_providers.completion import Completion, Delta, Usage
from llm_providers.errors import ProviderError, ProviderFailed, ProviderRefused, ProviderThrottled
from llm_providers.providers import Providers

__all__ = [
    "DEFAULT",
    "MODELS",
    "Accounts",
    "Completion",
    "Delta",
    "Model",
    "ProviderError",
    "ProviderFailed",
    "ProviderRefused",
    "ProviderThrottled",
    "Providers",
    "Usage",
]
