"""A chat with channels: each message once by its id; "archived" refuses (403), "unavailable" breaks (500)."""

from collections import OrderedDict

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from telemetry import web

MAX_MESSAGES = 200


class Chat:
    """Keeps the last messages of all channels."""

    def __init__(self) -> None:
        self._messages: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def post(self, request: Request) -> Response:
        """Take ``text`` under ``id``: 201, or 200 where it is there already."""
        channel = str(request.path_params["channel"])
        body = await web.read_json(request)
        key, text = (channel, web.text(body, "id", 64)), web.text(body, "text", 4000)
        if channel == "archived":
            raise HTTPException(403, "the channel is archived")
        if channel == "unavailable":
            return web.failure(500, "chat_unavailable", "the channel is not available")
        status = 200 if key in self._messages else 201
        self._messages.setdefault(key, text)
        while len(self._messages) > MAX_MESSAGES:
            self._messages.popitem(last=False)
        return JSONResponse({"id": key[1], "channel": channel}, status)

    async def read(self, request: Request) -> Response:
        """The messages of a channel, oldest first."""
        channel = request.path_params["channel"]
        found = [{"id": key[1], "text": text} for key, text in self._messages.items() if key[0] == channel]
        return JSONResponse({"messages": found})
