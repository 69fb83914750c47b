"""A rate limit in memory: a bucket of turns for each client, filled evenly."""

from collections import OrderedDict

MAX_CLIENTS = 10_000


class Buckets:
    """``burst`` turns at once, and ``per_second`` more; the client that was not seen for longest is forgotten first."""

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str, now: float) -> float:
        """Take a turn: 0, or the seconds until there is one. ``now`` in seconds of a clock that never goes back."""
        turns, seen = self._clients.pop(client, (self._burst, now))
        turns = min(self._burst, turns + (now - seen) * self._per_second)
        wait = 0.0 if turns >= 1 else (1 - turns) / self._per_second
        self._clients[client] = (turns if wait else turns - 1, now)
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        return wait
