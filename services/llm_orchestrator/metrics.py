"""The metrics of chats and of what they cost."""

from llm_providers import MODELS, Accounts, Usage
from llm_providers.completion import Limit
from telemetry import Telemetry, faults

_LABELS = ("provider", "model")
TOKEN_BURN = faults.hook("token_burn")


class ChatAccounts(Accounts):
    """llm_* and ai_tokens_total."""

    def __init__(self, telemetry: Telemetry) -> None:
        metrics = telemetry.metrics
        super().__init__(
            metrics.counter("llm_requests_total", "Requests to providers.", [*_LABELS, "status"]),
            metrics.histogram("llm_request_duration_seconds", "Duration of requests to providers.", _LABELS),
            metrics.counter("ai_tokens_total", "Tokens, by type input or output.", [*_LABELS, "type"]),
        )
        self._cost = metrics.counter("llm_cost_usd_total", "Cost in USD.", _LABELS)
        self._first_token = metrics.histogram(
            "llm_time_to_first_token_seconds", "Time until the first text of a stream.", _LABELS
        )
        self._fallbacks = metrics.counter(
            "llm_fallbacks_total", "Chats that another model answered, by the model asked for.", [*_LABELS, "fallback"]
        )
        self._remaining = metrics.gauge(
            "llm_rate_limit_remaining", "Requests or tokens left, as the provider last told.", ["provider", "limit"]
        )
        for name, model in MODELS.items():
            self._cost.labels(model.provider, name)
            self._first_token.labels(model.provider, name)
            if model.fallback is not None:
                self._fallbacks.labels(model.provider, name, model.fallback)

    def usage(self, model: str, usage: Usage) -> None:
        """Tokens that the provider bills, and their cost."""
        usage = Usage(TOKEN_BURN.scaled(usage.input), TOKEN_BURN.scaled(usage.output))
        super().usage(model, usage)
        self._cost.labels(MODELS[model].provider, model).inc(MODELS[model].cost(usage.input, usage.output))

    def limit(self, provider: str, limit: Limit) -> None:
        """What the provider says is left."""
        self._remaining.labels(provider, limit.kind).set(limit.remaining)

    def first_token(self, model: str, seconds: float) -> None:
        """The first text of a stream has come."""
        self._first_token.labels(MODELS[model].provider, model).observe(seconds)

    def fallback(self, model: str, fallback: str) -> None:
        """``fallback`` answers what ``model`` was asked."""
        self._fallbacks.labels(MODELS[model].provider, model, fallback).inc()
