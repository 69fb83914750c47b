"""``python -m discoverer.forget SERVICE`` in the discoverer's container. Ends with 1, and why, where it may not."""

import http.client
import json
import os
import sys
from urllib.parse import quote


def main() -> int:
    """Asks the discoverer of this container to forget the service that the first argument names."""
    server = http.client.HTTPConnection("127.0.0.1", int(os.environ["PORT"]), timeout=10)
    try:
        server.request("DELETE", f"/services/{quote(sys.argv[1], safe='')}")
        answer = server.getresponse()
        body = json.load(answer)
    except (OSError, http.client.HTTPException, ValueError) as error:
        print(f"the discoverer does not answer: {error}", file=sys.stderr)
        return 1
    if answer.status != 200:
        print(body["error"]["message"], file=sys.stderr)
        return 1
    print(f"forgotten: {body['forgotten']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
