"""Routes of platform-services.

    POST /users                    {"email", "password"}: 201, or 409 where the user exists
    POST /session                  {"email", "password"}: 201 with a token, 401, or 429 after too many wrong ones
    GET, DELETE /session           with ``Authorization: Bearer <token>``: who it is; end it
    POST /payments                 {"order", "amount"}: 201, or 402 for an amount over 1000
    DELETE /payments/{order}       refund: 200, also where there is nothing to refund
    GET /admin/users, /admin/audit for administrators: who there is, and who did what
    POST /admin/users/{id}/disable, /admin/users/{id}/enable
    PUT /admin/users/{id}/role     {"role": "viewer" | "editor" | "admin"}

What is audited is refused with 503 while the audit log cannot be written.

Needs DATABASE_URL, DATABASE_PASSWORD_FILE, REDIS_URL, REDIS_PASSWORD_FILE, PLATFORM_ADMIN_FILE.
"""

import asyncio

from starlette.routing import Route
from starlette.types import ASGIApp

from platform_services import accounts, admin_api, users
from platform_services.accounts import Accounts
from platform_services.admin_api import Admin
from platform_services.payments import Payments
from platform_services.sessions import Sessions
from platform_services.throttle import Throttle
from platform_services.users import Users
from telemetry import Telemetry, get_logger
from telemetry.postgres import Postgres

SCHEMA = (
    users.SCHEMA
    + """
CREATE TABLE IF NOT EXISTS payments (
    order_id text PRIMARY KEY,
    amount numeric(12, 2) NOT NULL,
    refunded boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
)
"""
)
EXPIRE_EVERY_SECONDS = 3600.0
USER_ACTIONS = ("register", "login", "logout", "payment", "refund", *admin_api.ACTIONS)
log = get_logger("platform_services")


async def _expire(database: Postgres) -> None:
    """Delete audit events that are older than their retention, which the owner of the database has set."""
    await database.ready()
    while True:
        rows = await database.fetch("expire_audit", "SELECT audit.expire() AS gone")
        if rows[0]["gone"]:
            log.info("audit events past their retention are deleted", count=rows[0]["gone"])
        await asyncio.sleep(EXPIRE_EVERY_SECONDS)


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of platform-services."""
    database, store = telemetry.postgres(SCHEMA), telemetry.redis()
    audit = telemetry.audit(database, *accounts.ACTIONS, *admin_api.ACTIONS)
    actions = telemetry.metrics.counter("user_actions_total", "What users did.", ["action"])
    for action in USER_ACTIONS:
        actions.labels(action)
    found, sessions = Users(database), Sessions(telemetry, store)
    visitors = Accounts(telemetry, found, sessions, Throttle(store), audit, actions)
    admin = Admin(database, visitors, found, sessions, audit, actions)
    payments = Payments(database, actions)
    password = telemetry.settings.secret("PLATFORM_ADMIN_FILE")

    async def ensure_admin() -> None:
        await database.ready()
        await visitors.ensure_admin(password)

    telemetry.background(ensure_admin)
    telemetry.background(lambda: _expire(database))
    return telemetry.app(
        [
            Route("/users", visitors.register, methods=["POST"]),
            Route("/session", visitors.log_in, methods=["POST"]),
            Route("/session", visitors.who, methods=["GET"]),
            Route("/session", visitors.log_out, methods=["DELETE"]),
            Route("/payments", payments.pay, methods=["POST"]),
            Route("/payments/{order}", payments.refund, methods=["DELETE"]),
            Route("/admin/users", admin.list_users, methods=["GET"]),
            Route("/admin/users/{user}/disable", admin.disable, methods=["POST"]),
            Route("/admin/users/{user}/enable", admin.enable, methods=["POST"]),
            Route("/admin/users/{user}/role", admin.set_role, methods=["PUT"]),
            Route("/admin/audit", admin.list_events, methods=["GET"]),
        ]
    )
