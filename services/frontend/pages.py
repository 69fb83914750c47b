"""The pages and what belongs to them, read once at the start and served from memory."""

import hashlib
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

PAGES = {
    "/": ("home", "Home"),
    "/chat": ("chat", "Chat"),
    "/records": ("records", "Records"),
    "/jobs": ("jobs", "Jobs"),
    "/orders": ("orders", "Orders"),
    "/account": ("account", "Account"),
}
"""Path → name and title."""

NAMES = tuple(name for name, _title in PAGES.values())
_FOLDER = Path(__file__).parent
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    # Asked again each time, and mostly answered with 304.
    "cache-control": "no-cache",
}
_PAGE_HEADERS = {"content-security-policy": _POLICY}


def routes() -> list[Route]:
    """A route for each page, and one for what they load."""
    html = (_FOLDER / "page.html").read_text(encoding="utf-8")
    return [
        *(_page(path, html, name, title) for path, (name, title) in PAGES.items()),
        _static({path.name: _File(path) for path in (_FOLDER / "static").iterdir()}),
    ]


def _page(path: str, html: str, name: str, title: str) -> Route:
    text = html.replace("PAGE_NAME", name).replace("PAGE_TITLE", title)
    # In the two lists of links, the page that is shown is marked; elsewhere its address stays as it is.
    text = text.replace(f'<a href="{path}">', f'<a href="{path}" aria-current="page">', 1)
    text = text.replace(f'<a class="account" href="{path}"', f'<a class="account" href="{path}" aria-current="page"')
    response = HTMLResponse(text, headers=_HEADERS | _PAGE_HEADERS)

    async def show(_request: Request) -> Response:
        return response

    return Route(path, show, methods=["GET"])


class _File:
    """A file and the two answers to a question for it."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        self.etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = _HEADERS | {"etag": self.etag}
        self.whole = Response(content, headers=headers, media_type=_TYPES[path.suffix])
        self.unchanged = Response(status_code=304, headers=headers)


def _static(files: dict[str, _File]) -> Route:
    async def show(request: Request) -> Response:
        file = files.get(request.path_params["file"])
        if file is None:
            raise HTTPException(404, "no such file")
        return file.unchanged if request.headers.get("if-none-match") == file.etag else file.whole

    return Route("/static/{file}", show, methods=["GET"])
