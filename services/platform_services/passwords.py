"""Password hashes with scrypt."""

import asyncio
import hashlib
import hmac
import os
from concurrent.futures import ThreadPoolExecutor

# 8 MiB and about 0.2 s of a core: of the settings of equal strength in OWASP's Password Storage Cheat Sheet
# the one that takes the least memory.
N, R, P = 2**13, 8, 10
SALT_BYTES = 16
# One hash at a time: each thread would keep the memory of its own.
_WORKER = ThreadPoolExecutor(1, "scrypt")


async def hash_password(password: str) -> str:
    """``scrypt$n$r$p$salt$key``: with its settings, so that a hash outlives a change of them."""
    salt = os.urandom(SALT_BYTES)
    key = await _in_worker(password, salt, N, R, P)
    return "$".join(["scrypt", str(N), str(R), str(P), salt.hex(), key.hex()])


async def verify_password(password: str, stored: str) -> bool:
    """Whether ``password`` has the hash ``stored``, in a time that does not tell how much of it is right."""
    _scheme, n, r, p, salt, key = stored.split("$")
    derived = await _in_worker(password, bytes.fromhex(salt), int(n), int(r), int(p))
    return hmac.compare_digest(derived, bytes.fromhex(key))


async def _in_worker(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return await asyncio.get_running_loop().run_in_executor(_WORKER, _derive, password, salt, n, r, p)


def _derive(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=64 * 1024 * 1024)
