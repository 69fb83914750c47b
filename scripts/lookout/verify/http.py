"""HTTP questions to the servers of a running stack."""

from __future__ import annotations

from typing import Any, Final

import httpx

from .polling import NotYet

CLIENT: Final = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0))
"""For all questions: making a client takes longer than most answers. No connection outlives its server."""


def get_json(
    url: str, params: dict[str, Any] | None = None, auth: tuple[str, str] | None = None, timeout: float = 5
) -> Any:
    """The JSON answer of a GET, ``timeout`` in seconds. Raises NotYet when there is none, with the reason."""
    try:
        answer = CLIENT.get(url, params=params, auth=auth, timeout=timeout)
    except httpx.HTTPError as error:
        raise NotYet(f"{url}: {type(error).__name__}: {error}") from error
    if answer.status_code != 200:
        raise NotYet(f"{url}: HTTP {answer.status_code}: {answer.text[:200]}")
    try:
        return answer.json()
    except ValueError as error:
        raise NotYet(f"{url}: no JSON: {answer.text[:200]}") from error
