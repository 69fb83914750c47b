"""Registration, login and logout: each leaves an event in the audit log, or does not happen."""

import re
import uuid

import asyncpg
from prometheus_client import Counter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from platform_services import users
from platform_services.passwords import hash_password, verify_password
from platform_services.sessions import Sessions, new_token
from platform_services.throttle import Throttle
from platform_services.users import User, Users
from telemetry import Telemetry, bind_user, web
from telemetry.audit import ANONYMOUS, SYSTEM, Audit, session

ACTIONS = ("register", "login", "logout", "password_set")
ADMIN_EMAIL = "admin@localhost"
"""The first administrator; the password is the content of PLATFORM_ADMIN_FILE."""
MIN_PASSWORD = 10
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")


class Accounts:
    """Who comes in, and how."""

    def __init__(
        self, telemetry: Telemetry, found: Users, sessions: Sessions, throttle: Throttle, audit: Audit, actions: Counter
    ) -> None:
        self._users = found
        self._sessions = sessions
        self._throttle = throttle
        self._audit = audit
        self._actions = actions
        self._attempts = telemetry.metrics.counter(
            "auth_attempts_total", "Attempts to authenticate.", ["method", "outcome"]
        )
        for method, outcomes in (("password", ("success", "failure", "throttled")), ("token", ("success", "failure"))):
            for outcome in outcomes:
                self._attempts.labels(method, outcome)

    async def register(self, request: Request) -> Response:
        """Create a user."""
        email, password = await _credentials(request)
        if len(password) < MIN_PASSWORD:
            raise HTTPException(400, f"password must have at least {MIN_PASSWORD} characters")
        user, hashed = User(str(uuid.uuid4()), email, "viewer", False), await hash_password(password)
        try:
            await self._audit.change(
                "register", lambda c: users.insert(c, user, hashed), who=user.id, on=f"user:{user.id}"
            )
        except asyncpg.UniqueViolationError:
            await self._audit.record("register", who=ANONYMOUS, on="users", outcome="failure", reason="exists")
            raise HTTPException(409, "the user exists") from None
        self._actions.labels("register").inc()
        return JSONResponse({"id": user.id, "email": email}, 201)

    async def log_in(self, request: Request) -> Response:
        """Start a session."""
        email, password = await _credentials(request)
        beyond, seconds = await self._throttle.attempt(email)
        if beyond:
            self._attempts.labels("password", "throttled").inc()
            # One event each window: the log of a thousand refused guesses would be another way to fill a disk.
            if beyond == 1:
                found = await self._users.find(email)
                who = found[0].id if found else ANONYMOUS
                await self._audit.record("login", who=who, on="session", outcome="denied", reason="throttled")
            raise HTTPException(429, "too many attempts", {"retry-after": str(seconds)})
        user = await self._verified(email, password)
        await self._throttle.clear(email)
        token = new_token()
        await self._audit.record("login", who=user.id, on=session(token), outcome="success")
        await self._sessions.start(token, user.id)
        self._attempts.labels("password", "success").inc()
        self._actions.labels("login").inc()
        return JSONResponse({"token": token}, 201)

    async def _verified(self, email: str, password: str) -> User:
        """The user whom the password belongs to; HTTPException 401, the same whatever was wrong."""
        found = await self._users.find(email)
        # An unknown user costs a hash too, or the time of the answer would tell who has an account.
        right = await verify_password(password, found[1]) if found else not await hash_password(password)
        if found and right and not found[0].disabled:
            bind_user(found[0].id)
            return found[0]
        self._attempts.labels("password", "failure").inc()
        reason = "unknown user" if not found else "disabled" if right else "wrong password"
        who = found[0].id if found else ANONYMOUS
        await self._audit.record("login", who=who, on="session", outcome="failure", reason=reason)
        raise HTTPException(401, "e-mail or password is wrong")

    async def authenticate(self, request: Request) -> User:
        """The user of the request's session; HTTPException 401 where there is none, or where the user is disabled."""
        token = token_of(request)
        found = await self._sessions.find(token)
        user = await self._users.get(found) if found else None
        if user is None or user.disabled:
            self._attempts.labels("token", "failure").inc()
            raise HTTPException(401, "no such session")
        self._attempts.labels("token", "success").inc()
        bind_user(user.id)
        return user

    async def who(self, request: Request) -> Response:
        """The user of the session."""
        user = await self.authenticate(request)
        return JSONResponse({"id": user.id, "email": user.email, "role": user.role})

    async def log_out(self, request: Request) -> Response:
        """End the session."""
        token = token_of(request)
        user = await self._sessions.find(token)
        if user is not None:
            # Ended first: nobody is kept logged in for want of an audit log.
            await self._sessions.end(token, user)
            await self._audit.record("logout", who=user, on=session(token), outcome="success")
            self._actions.labels("logout").inc()
        return Response(status_code=204)

    async def ensure_admin(self, password: str) -> None:
        """The first administrator exists and has this password: the secret file is what counts."""
        found = await self._users.find(ADMIN_EMAIL)
        if found and await verify_password(password, found[1]):
            return
        hashed = await hash_password(password)
        if found:
            user = found[0].id
            await self._audit.change(
                "password_set", lambda c: users.set_password(c, user, hashed), who=SYSTEM, on=f"user:{user}"
            )
            await self._sessions.end_all(user)
            return
        admin = User(str(uuid.uuid4()), ADMIN_EMAIL, "admin", False)
        await self._audit.change(
            "register", lambda c: users.insert(c, admin, hashed), who=SYSTEM, on=f"user:{admin.id}", role="admin"
        )


async def _credentials(request: Request) -> tuple[str, str]:
    body = await web.read_json(request)
    email = web.text(body, "email", 255).lower()
    if not _EMAIL.fullmatch(email):
        raise HTTPException(400, "email is not an e-mail address")
    return email, web.text(body, "password", 200)


def token_of(request: Request) -> str:
    """The bearer token of a request; HTTPException 401 where it has none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise HTTPException(401, "Authorization: Bearer <token> is required")
    return token
