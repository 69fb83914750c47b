"""What administrators do: every command is audited, and so is every attempt of others."""

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from prometheus_client import Counter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from platform_services import users
from platform_services.accounts import Accounts
from platform_services.sessions import Sessions
from platform_services.users import ROLES, LastAdmin, User, Users
from telemetry import web
from telemetry.audit import ANONYMOUS, Audit
from telemetry.postgres import Postgres

ACTIONS = ("users_list", "user_disable", "user_enable", "user_role", "audit_list")
MAX_LISTED = 200
MAX_ID = 2**63 - 1
_LISTED = "id, at, recorded_by, who, action, on_what, outcome, detail, trace_id, request_id, correlation_id"

Handler = Callable[[Request], Awaitable[Response]]


class Admin:
    """Handlers behind ``only_admins``."""

    def __init__(
        self,
        database: Postgres,
        accounts: Accounts,
        found: Users,
        sessions: Sessions,
        audit: Audit,
        actions: Counter,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._users = found
        self._sessions = sessions
        self._audit = audit
        self._actions = actions

    async def list_users(self, request: Request) -> Response:
        """Users, newest first: ``?limit=``, ``?email=``."""
        admin = await self._admin(request, "users_list", "users")
        limit = _limit(request)
        await self._audit.record("users_list", who=admin.id, on="users", outcome="success")
        found = await self._users.list(request.query_params.get("email"), limit)
        self._actions.labels("users_list").inc()
        return JSONResponse({"users": [user.body() for user in found]})

    async def list_events(self, request: Request) -> Response:
        """Audit events, newest first: ``?limit=``, ``?before=<id>``, ``?who=``, ``?action=``, ``?trace_id=``."""
        admin = await self._admin(request, "audit_list", "audit")
        limit, asked = _limit(request), request.query_params
        before = web.whole_number(asked["before"], "before", 0, MAX_ID) if "before" in asked else None
        await self._audit.record("audit_list", who=admin.id, on="audit", outcome="success")
        rows = await self._database.fetch(
            "list_audit",
            f"SELECT {_LISTED} FROM audit.events WHERE ($1::text IS NULL OR who = $1) AND ($2::text IS NULL OR"
            " action = $2) AND ($3::text IS NULL OR trace_id = $3) AND ($4::bigint IS NULL OR id < $4)"
            " ORDER BY id DESC LIMIT $5",
            asked.get("who"),
            asked.get("action"),
            asked.get("trace_id"),
            before,
            limit,
        )
        self._actions.labels("audit_list").inc()
        return JSONResponse({"events": [_event(row) for row in rows]})

    async def disable(self, request: Request) -> Response:
        """Lock a user out, and end the user's sessions."""
        user = _subject(request)
        admin = await self._admin(request, "user_disable", f"user:{user}")
        answer = await self._change(admin, user, "user_disable", disabled=True)
        # Before this a session of the user opens nothing more: who asks is looked up in PostgreSQL each time.
        await self._sessions.end_all(user)
        return answer

    async def enable(self, request: Request) -> Response:
        """Let a user in again."""
        user = _subject(request)
        admin = await self._admin(request, "user_enable", f"user:{user}")
        return await self._change(admin, user, "user_enable", disabled=False)

    async def set_role(self, request: Request) -> Response:
        """Give a user another role: ``{"role": "viewer" | "editor" | "admin"}``."""
        user = _subject(request)
        admin = await self._admin(request, "user_role", f"user:{user}")
        role = web.text(await web.read_json(request), "role")
        if role not in ROLES:
            raise HTTPException(400, "role must be one of " + ", ".join(ROLES))
        return await self._change(admin, user, "user_role", role=role)

    async def _change(
        self, admin: User, user: str, action: str, role: str | None = None, disabled: bool | None = None
    ) -> Response:
        on, detail = f"user:{user}", {} if role is None else {"role": role}

        async def work(connection: Any) -> User:
            found = await users.change(connection, user, role, disabled)
            if found is None:
                raise HTTPException(404, "no such user")
            return found

        try:
            changed = await self._audit.change(action, work, who=admin.id, on=on, **detail)
        except LastAdmin:
            await self._audit.record(action, who=admin.id, on=on, outcome="failure", reason="last administrator")
            raise HTTPException(409, "nobody else is an administrator") from None
        except HTTPException as refused:
            await self._audit.record(action, who=admin.id, on=on, outcome="failure", reason=refused.detail)
            raise
        self._actions.labels(action).inc()
        return JSONResponse(changed.body())

    async def _admin(self, request: Request, action: str, on: str) -> User:
        """The administrator who asks; HTTPException 401 or 403, audited, for anybody else."""
        try:
            user = await self._accounts.authenticate(request)
        except HTTPException:
            await self._audit.record(action, who=ANONYMOUS, on=on, outcome="denied", reason="no session")
            raise
        if user.role != "admin":
            await self._audit.record(action, who=user.id, on=on, outcome="denied", reason=f"role {user.role}")
            raise HTTPException(403, "only an administrator may do this")
        return user


def _subject(request: Request) -> str:
    try:
        return str(uuid.UUID(request.path_params["user"]))
    except ValueError:
        raise HTTPException(400, "the user must be given by id") from None


def _limit(request: Request) -> int:
    return web.whole_number(request.query_params.get("limit", "50"), "limit", 1, MAX_LISTED)


def _event(row: Any) -> dict[str, Any]:
    return {**dict(row), "at": row["at"].isoformat(), "detail": json.loads(row["detail"])}
