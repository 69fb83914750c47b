"""What goes wrong, and for whom: the name of the model decides, so that a test gets exactly what it asks for."""

from dataclasses import dataclass

SLOW_SECONDS = 2.5


@dataclass(frozen=True, slots=True)
class Fault:
    """``refusal`` is a kind of refusal (simulators.shapes); ``cut`` ends the answer in its middle."""

    refusal: str | None = None
    delay_seconds: float = 0.0
    cut: bool = False


NONE = Fault()
MODELS = {
    "unavailable": Fault(refusal="failed"),
    "overloaded": Fault(refusal="overloaded"),
    "throttled": Fault(refusal="throttled"),
    "slow": Fault(delay_seconds=SLOW_SECONDS),
    "broken-stream": Fault(cut=True),
}
