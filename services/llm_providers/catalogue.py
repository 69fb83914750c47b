"""Models that can be asked for. The labels ``provider`` and ``model`` take no other values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Model:
    """A model; prices in USD for a million tokens, of the order of public list prices and no quotation.

    ``fallback`` is the model that answers while the circuit of this one's provider is open.
    """

    provider: str
    input_price: float
    output_price: float
    fallback: str | None = None

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """Cost in USD."""
        return (input_tokens * self.input_price + output_tokens * self.output_price) / 1e6


MODELS = {
    "mistral-small": Model("mistral", 0.1, 0.3, "glm-4"),
    "mistral-large": Model("mistral", 2.0, 6.0, "claude-sonnet"),
    "kimi-k2": Model("kimi", 0.6, 2.5, "glm-4"),
    "glm-4": Model("glm", 0.6, 2.2, "kimi-k2"),
    "claude-sonnet": Model("claude", 3.0, 15.0, "mistral-large"),
    # These exist to fail, so nothing answers in their place: see simulators.faults.
    "unavailable": Model("mistral", 0.1, 0.3),
    "throttled": Model("mistral", 0.1, 0.3),
    "slow": Model("mistral", 0.1, 0.3),
    "overloaded": Model("claude", 3.0, 15.0),
    "broken-stream": Model("kimi", 0.6, 2.5),
}
DEFAULT = "mistral-small"
PROVIDERS = sorted({model.provider for model in MODELS.values()})
