"""How the rate of requests goes with the time of day."""

import math

SWING = 0.4
"""At the peak hour there are so much more requests than on average, and twelve hours later so much fewer."""


def factor(now: float, peak_hour: float | None) -> float:
    """What the mean rate is multiplied by at Unix time ``now``; its mean over a day is 1.

    ``peak_hour`` is an hour of the day in UTC; without one all hours are alike.
    """
    if peak_hour is None:
        return 1.0
    hour = now / 3600 % 24
    return 1 + SWING * math.cos(2 * math.pi * (hour - peak_hour) / 24)
