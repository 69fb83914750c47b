"""Routes of platform-services.

    POST /users              {"email", "password"}: 201, or 409 where the user exists
    POST /session            {"email", "password"}: 201 with a token, or 401
    GET, DELETE /session     with ``Authorization: Bearer <token>``: who it is; end it
    POST /payments           {"order", "amount"}: 201, or 402 for an amount over 1000
    DELETE /payments/{order} refund: 200, also where there is nothing to refund

Needs DATABASE_URL, DATABASE_PASSWORD_FILE, REDIS_URL, REDIS_PASSWORD_FILE.
"""

import re

import asyncpg
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from platform_services.passwords import hash_password, verify_password
from platform_services.payments import Payments
from platform_services.sessions import Sessions
from telemetry import Telemetry, web
from telemetry.postgres import Postgres

SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    email text PRIMARY KEY,
    password_hash text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS payments (
    order_id text PRIMARY KEY,
    amount numeric(12, 2) NOT NULL,
    refunded boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
)
"""
MIN_PASSWORD = 10
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")


class Users:
    """Registration and sessions."""

    def __init__(self, telemetry: Telemetry, database: Postgres, sessions: Sessions) -> None:
        self._database = database
        self._sessions = sessions
        self._attempts = telemetry.metrics.counter(
            "auth_attempts_total", "Attempts to authenticate.", ["method", "outcome"]
        )
        self.actions = telemetry.metrics.counter("user_actions_total", "What users did.", ["action"])
        for method in ("password", "token"):
            for outcome in ("success", "failure"):
                self._attempts.labels(method, outcome)

    async def register(self, request: Request) -> Response:
        """Create a user."""
        email, password = await _credentials(request)
        if len(password) < MIN_PASSWORD:
            raise HTTPException(400, f"password must have at least {MIN_PASSWORD} characters")
        try:
            await self._database.fetch(
                "insert_user",
                "INSERT INTO users (email, password_hash) VALUES ($1, $2)",
                email,
                await hash_password(password),
            )
        except asyncpg.UniqueViolationError:
            raise HTTPException(409, "the user exists") from None
        self.actions.labels("register").inc()
        return JSONResponse({"email": email}, 201)

    async def log_in(self, request: Request) -> Response:
        """Start a session."""
        email, password = await _credentials(request)
        row = await self._database.fetchrow("find_user", "SELECT password_hash FROM users WHERE email = $1", email)
        # An unknown user costs a hash too, or the time of the answer would tell who has an account.
        known = await verify_password(password, row["password_hash"]) if row else not await hash_password(password)
        self._attempts.labels("password", "success" if known else "failure").inc()
        if not known:
            raise HTTPException(401, "e-mail or password is wrong")
        self.actions.labels("login").inc()
        return JSONResponse({"token": await self._sessions.start(email)}, 201)

    async def who(self, request: Request) -> Response:
        """The user of the session."""
        user = await self._sessions.find(_token(request))
        self._attempts.labels("token", "success" if user else "failure").inc()
        if user is None:
            raise HTTPException(401, "no such session")
        return JSONResponse({"email": user})

    async def log_out(self, request: Request) -> Response:
        """End the session."""
        await self._sessions.end(_token(request))
        self.actions.labels("logout").inc()
        return Response(status_code=204)


async def _credentials(request: Request) -> tuple[str, str]:
    body = await web.read_json(request)
    email = web.text(body, "email", 255).lower()
    if not _EMAIL.fullmatch(email):
        raise HTTPException(400, "email is not an e-mail address")
    return email, web.text(body, "password", 200)


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise HTTPException(401, "Authorization: Bearer <token> is required")
    return token


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of platform-services."""
    database = telemetry.postgres(SCHEMA)
    users = Users(telemetry, database, Sessions(telemetry, telemetry.redis()))
    payments = Payments(database, users.actions)
    return telemetry.app(
        [
            Route("/users", users.register, methods=["POST"]),
            Route("/session", users.log_in, methods=["POST"]),
            Route("/session", users.who, methods=["GET"]),
            Route("/session", users.log_out, methods=["DELETE"]),
            Route("/payments", payments.pay, methods=["POST"]),
            Route("/payments/{order}", payments.refund, methods=["DELETE"]),
        ]
    )
