"""What a fault does beside the places that ask for it: memory, CPU, the end of the process."""

import asyncio
import hashlib
import mmap
import os
import threading
import time
from collections.abc import Callable

MIB = 1024 * 1024
CRASH_AFTER_SECONDS = 0.2
"""Time for the answer to the one who asked for it."""
_ROUNDS = 10_000
"""Of PBKDF2, a few milliseconds; it leaves the interpreter to the others meanwhile, so the service goes on."""


def begin(kind: str, parameters: dict[str, float], seconds: float) -> Callable[[], object]:
    """Starts the effect of a kind, where it has one of its own; what is returned ends it. Needs a running loop."""
    if kind == "memory":
        return asyncio.create_task(_grow(int(parameters["mebibytes"]), seconds)).cancel
    if kind == "cpu":
        over = threading.Event()
        threading.Thread(target=_burn, args=(parameters["share"], over), name="fault cpu", daemon=True).start()
        return over.set
    if kind == "crash":
        return asyncio.get_running_loop().call_later(CRASH_AFTER_SECONDS, _exit).cancel
    return lambda: None


async def _grow(mebibytes: int, seconds: float) -> None:
    """Holds one MiB more after each step. Mapped memory goes back to the system when it is closed."""
    held: list[mmap.mmap] = []
    try:
        for _ in range(mebibytes):
            block = mmap.mmap(-1, MIB)
            block.write(b"\1" * MIB)
            held.append(block)
            await asyncio.sleep(seconds / 2 / mebibytes)
        await asyncio.Event().wait()
    finally:
        for block in held:
            block.close()


def _burn(share: float, over: threading.Event) -> None:
    while not over.is_set():
        start = time.perf_counter()
        hashlib.pbkdf2_hmac("sha256", b"fault", b"fault", _ROUNDS)
        over.wait((time.perf_counter() - start) * (1 - share) / share)


def _exit() -> None:
    os._exit(1)
