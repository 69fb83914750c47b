"""Models that can be asked for. The labels ``provider`` and ``model`` take no other values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Model:
    """A model; prices in USD for a million tokens, of the order of public list prices and no quotation."""

    provider: str
    input_price: float
    output_price: float

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """Cost in USD."""
        return (input_tokens * self.input_price + output_tokens * self.output_price) / 1e6


MODELS = {
    "mistral-small": Model("mistral", 0.1, 0.3),
    "mistral-large": Model("mistral", 2.0, 6.0),
    "kimi-k2": Model("kimi", 0.6, 2.5),
    "glm-4": Model("glm", 0.6, 2.2),
    "claude-sonnet": Model("claude", 3.0, 15.0),
    # These three exist to fail: see simulators.llm.
    "unavailable": Model("mistral", 0.1, 0.3),
    "throttled": Model("mistral", 0.1, 0.3),
    "slow": Model("mistral", 0.1, 0.3),
}
DEFAULT = "mistral-small"
