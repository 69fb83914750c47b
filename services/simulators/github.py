"""The part of GitHub's API that gives a file of a repository (docs.github.com, "Get repository content")."""

import base64

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

FILES = {
    "requirements.txt": "# What the service needs.\nflask==2.3.3\nrequests>=2.28.2\nhttpx==0.28.1\n",
    "package.json": '{\n  "dependencies": {\n    "react": "^18.2.0",\n    "axios": "1.6.8"\n  }\n}\n',
    "go.mod": "module example.test/probe\n\ngo 1.26\n\nrequire (\n\tgithub.com/google/uuid v1.5.0\n)\n",
}


async def contents(request: Request) -> Response:
    """A manifest by its name, in any folder of any repository; 404 for any other file."""
    path = str(request.path_params["path"])
    text = FILES.get(path.rpartition("/")[2])
    if text is None:
        raise HTTPException(404, "Not Found")
    content = base64.b64encode(text.encode()).decode()
    return JSONResponse({"type": "file", "encoding": "base64", "path": path, "content": content})
