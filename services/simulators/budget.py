"""What an account may ask in a minute: requests and tokens, over a window that slides."""

import time
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 60.0


class Budget:
    """``requests`` and ``tokens`` a minute."""

    def __init__(self, requests: int, tokens: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.requests = requests
        self.tokens = tokens
        self._clock = clock
        self._spent: deque[tuple[float, int]] = deque()

    def spend(self, tokens: int) -> float:
        """Take one request of ``tokens`` and return 0, or return the seconds until it could be taken."""
        now = self._clock()
        self._forget(now)
        if self.requests_left >= 1 and self.tokens_left >= tokens:
            self._spent.append((now, tokens))
            return 0.0
        oldest = self._spent[0][0] if self._spent else now
        return max(oldest + WINDOW_SECONDS - now, 0.001)

    @property
    def requests_left(self) -> int:
        """Requests that could be taken now."""
        return self.requests - len(self._spent)

    @property
    def tokens_left(self) -> int:
        """Tokens that could be taken now."""
        return self.tokens - sum(tokens for _, tokens in self._spent)

    def seconds_to_reset(self) -> float:
        """Seconds until all of it is there again."""
        now = self._clock()
        self._forget(now)
        return self._spent[-1][0] + WINDOW_SECONDS - now if self._spent else 0.0

    def _forget(self, now: float) -> None:
        while self._spent and now - self._spent[0][0] >= WINDOW_SECONDS:
            self._spent.popleft()
