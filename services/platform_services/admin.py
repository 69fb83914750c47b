"""The back office, run inside the container of platform-services:

    docker compose exec platform-services python -m platform_services.admin users
    docker compose exec platform-services python -m platform_services.admin disable <id or e-mail>
    docker compose exec platform-services python -m platform_services.admin role <id or e-mail> editor
    docker compose exec platform-services python -m platform_services.admin audit --action login --limit 20

It asks the API of the service, so that rights, audit log and counters are those of everyone. It logs in as the first
administrator, or with ``--as <e-mail>`` as another, whose password it asks for. Prints one JSON object a line, and the
trace id of the run to standard error. Ends with 1 where the service refuses, 2 for wrong usage.
"""

import argparse
import getpass
import json
import os
import secrets
import sys
import uuid
from pathlib import Path
from typing import Any

import httpx

from platform_services.accounts import ADMIN_EMAIL

TIMEOUT_SECONDS = 15.0


class Refused(Exception):
    """The service did not do what it was asked; the message says why."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    options = _parser().parse_args(arguments)
    password = (
        getpass.getpass(f"password of {options.email}: ")
        if options.email
        else Path(os.environ["PLATFORM_ADMIN_FILE"]).read_text("utf-8").strip()
    )
    trace_id = secrets.token_hex(16)
    headers = {
        "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01",
        "x-correlation-id": f"admin-{uuid.uuid4().hex}",
    }
    base_url = f"http://127.0.0.1:{os.environ['PORT']}"
    print(f"trace {trace_id}", file=sys.stderr)
    try:
        with httpx.Client(base_url=base_url, headers=headers, timeout=TIMEOUT_SECONDS) as service:
            credentials = {"email": options.email or ADMIN_EMAIL, "password": password}
            token = _ask(service, "POST", "/session", json=credentials)["token"]
            service.headers["authorization"] = f"Bearer {token}"
            try:
                for line in _run(service, options):
                    print(json.dumps(line, ensure_ascii=False))
            finally:
                service.delete("/session")
    except (Refused, httpx.HTTPError) as error:
        print(f"admin: {error}", file=sys.stderr)
        return 1
    return 0


def _run(service: httpx.Client, options: argparse.Namespace) -> list[dict[str, Any]]:
    if options.command == "users":
        return list(_ask(service, "GET", "/admin/users", params={"limit": options.limit})["users"])
    if options.command == "audit":
        wanted = {name: getattr(options, name) for name in ("limit", "who", "action", "trace_id")}
        params = {name: value for name, value in wanted.items() if value is not None}
        return list(_ask(service, "GET", "/admin/audit", params=params)["events"])
    path = f"/admin/users/{_id(service, options.user)}"
    if options.command == "role":
        return [_ask(service, "PUT", f"{path}/role", json={"role": options.role})]
    return [_ask(service, "POST", f"{path}/{options.command}")]


def _id(service: httpx.Client, user: str) -> str:
    if "@" not in user:
        return user
    found = _ask(service, "GET", "/admin/users", params={"email": user.lower()})["users"]
    if not found:
        raise Refused(f"no user has the address {user}")
    return str(found[0]["id"])


def _ask(service: httpx.Client, method: str, path: str, **options: Any) -> dict[str, Any]:
    answer = service.request(method, path, **options)
    body: dict[str, Any] = answer.json()
    if answer.is_error:
        raise Refused(f"{method} {path}: {answer.status_code} {body.get('error', {}).get('message', '')}")
    return body


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m platform_services.admin", description="Back office.")
    parser.add_argument("--as", dest="email", metavar="EMAIL", help="log in as this administrator")
    commands = parser.add_subparsers(dest="command", required=True)
    listed = commands.add_parser("users", help="who there is, newest first")
    listed.add_argument("--limit", type=int, default=50)
    for command, what in (("disable", "lock a user out and end the sessions"), ("enable", "let a user in again")):
        commands.add_parser(command, help=what).add_argument("user", help="id or e-mail address")
    role = commands.add_parser("role", help="give a user another role")
    role.add_argument("user", help="id or e-mail address")
    role.add_argument("role", choices=["viewer", "editor", "admin"])
    audit = commands.add_parser("audit", help="who did what, newest first")
    audit.add_argument("--limit", type=int, default=50)
    for option in ("--who", "--action", "--trace-id"):
        audit.add_argument(option)
    return parser


if __name__ == "__main__":
    sys.exit(main())
