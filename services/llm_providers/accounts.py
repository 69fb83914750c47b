"""Counts what is asked of providers, under the names that the service gives its metrics."""

from prometheus_client import Counter, Histogram

from llm_providers.catalogue import MODELS
from llm_providers.completion import Limit, Usage
from telemetry import CircuitOpen, TimedOut, Unreachable

STATUSES = ("success", "error", "throttled", "cancelled", Unreachable.code, TimedOut.code, CircuitOpen.code)


class Accounts:
    """``requests`` {provider, model, status}, ``seconds`` {provider, model}, ``tokens`` {provider, model, type}.

    A service that counts more overrides ``usage`` and ``limit``.
    """

    def __init__(self, requests: Counter, seconds: Histogram, tokens: Counter) -> None:
        self._requests = requests
        self._seconds = seconds
        self._tokens = tokens
        for name, model in MODELS.items():
            seconds.labels(model.provider, name)
            for status in STATUSES:
                requests.labels(model.provider, name, status)
            for kind in ("input", "output"):
                tokens.labels(model.provider, name, kind)

    def request(self, model: str, status: str, seconds: float) -> None:
        """One request ended, however it did."""
        provider = MODELS[model].provider
        self._requests.labels(provider, model, status).inc()
        self._seconds.labels(provider, model).observe(seconds)

    def usage(self, model: str, usage: Usage) -> None:
        """Tokens that the provider bills."""
        provider = MODELS[model].provider
        self._tokens.labels(provider, model, "input").inc(usage.input)
        self._tokens.labels(provider, model, "output").inc(usage.output)

    def limit(self, provider: str, limit: Limit) -> None:
        """What the provider says is left."""
