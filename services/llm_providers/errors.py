"""What a provider can do wrong, beside not being there (telemetry.DependencyError).

ProviderError              answered, but not with a completion; ``status`` is the label of the metrics
├── ProviderThrottled      429: too many requests or tokens
├── ProviderRefused        any other 4xx: the request or the key is wrong, and would be again
└── ProviderFailed         5xx, an answer that makes no sense, a stream that broke off
"""


class ProviderError(Exception):
    """The provider did not complete; ``code`` is its HTTP status, 200 for a stream that failed under way."""

    status = "error"

    def __init__(self, provider: str, code: int, reason: str) -> None:
        super().__init__(f"{provider} answered {code}: {reason}")
        self.provider = provider
        self.code = code


class ProviderThrottled(ProviderError):
    """Too many requests; ``retry_after`` in seconds, as the provider says, else a guess."""

    status = "throttled"

    def __init__(self, provider: str, code: int, reason: str, retry_after: float) -> None:
        super().__init__(provider, code, reason)
        self.retry_after = retry_after


class ProviderRefused(ProviderError):
    """The same request will be refused again."""


class ProviderFailed(ProviderError):
    """The provider is at fault. ``again`` tells that nothing was generated, so that asking again costs nothing."""

    def __init__(self, provider: str, code: int, reason: str, again: bool = True) -> None:
        super().__init__(provider, code, reason)
        self.again = again
