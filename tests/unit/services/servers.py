"""Applications behind real sockets of the loopback interface, for clients that speak HTTP and nothing else."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from lookout.verify.polling import NotYet, poll_until


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve ``app`` in a thread, with its start and shutdown; yields its base URL."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, access_log=False, timeout_graceful_shutdown=1, ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()

    def started() -> int:
        if not server.started:
            raise NotYet("not started")
        return int(server.servers[0].sockets[0].getsockname()[1])

    try:
        yield f"http://127.0.0.1:{poll_until(started, 'the server', within=10, every=0.01)}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
