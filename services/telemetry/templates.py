"""Route templates: which route a request took, as it was written, never as it was asked for."""

import re
from collections.abc import Iterator
from typing import Any

UNMATCHED = "unmatched"


class Templates:
    """Reads the template of a finished request from its scope, as Starlette and FastAPI leave it there.

    What a route knows is its own path; the paths of what it is mounted under are found by walking the application,
    once for each route. An application of any other framework names no route: UNMATCHED.
    """

    def __init__(self) -> None:
        # By the identities of route and application; both stand in the value too, so that no identity is used again.
        self._known: dict[tuple[int, int, str], tuple[Any, Any, list[tuple[re.Pattern[str], str]]]] = {}

    def of(self, scope: Any, root_path: str) -> str:
        """The template of a request that was handled; ``root_path`` is what the scope had before."""
        route = scope.get("route")
        own = _own(scope, route)
        if own is None or scope.get("root_path", "") == root_path:
            return own or UNMATCHED
        app = scope.get("app")
        key = (id(route), id(app), own)
        found = self._known.get(key)
        if found is None:
            router = scope.get("router")
            candidates = list(_search(getattr(router, "routes", ()), route, app, own))
            found = self._known[key] = (route, app, [(_pattern(prefix), prefix + own) for prefix in candidates])
        matches = found[2]
        if len(matches) > 1:
            # The same route is mounted in several places; the path says under which of them this request came.
            mounted = scope["root_path"].removeprefix(root_path)
            matches = [match for match in matches if match[0].fullmatch(mounted)] or matches
        return matches[0][1] if matches else own


def _own(scope: Any, route: Any) -> str | None:
    """Path of the route within its application; None where no route took the request."""
    # FastAPI keeps the path with the prefixes of included routers beside the route.
    context = (scope.get("fastapi") or {}).get("effective_route_context")
    if context is not None:
        route = getattr(context, "starlette_route", None) or context
    if hasattr(route, "routes") and not hasattr(route, "endpoint"):
        # A mount: with routes of its own none of them fitted; an application without routes is one destination.
        return None if route.routes else getattr(route, "path_format", None)
    path: str | None = getattr(route, "path", None)
    return path


def _search(routes: Any, route: Any, app: Any, own: str) -> Iterator[str]:
    """Prefixes under which ``route`` of ``app`` is mounted, below ``routes``."""
    for candidate in routes:
        if candidate is route:
            yield ""
        elif not hasattr(candidate, "endpoint") and hasattr(candidate, "app"):
            prefix = getattr(candidate, "path", "")
            inner = getattr(candidate, "_base_app", candidate.app)
            nested = [prefix + found for found in _search(getattr(candidate, "routes", ()), route, app, own)]
            yield from nested or ([prefix] if inner is app else [])


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{[^}]*\}", template)
    return re.compile("[^/]+".join(re.escape(part) for part in parts))
