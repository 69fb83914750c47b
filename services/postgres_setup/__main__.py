"""Runs once at each start of the stack; repeatable, so a database of an older version gets what it lacks.

Needs DATABASE_URL (of the owner), DATABASE_PASSWORD_FILE, DATABASE_ROLES (names of roles), AUDIT_READERS (those among
them that may read the audit log), AUDIT_RETENTION (hours, such as ``8760h``). Beside the password file stands
``postgres_<role>`` with the password of each role, and ``postgres_monitor`` where an exporter watches. Ends with 1
where the database cannot be set up, and says why.
"""

import asyncio
import sys

from bare_server import write_line
from postgres_setup.setup import SetupFailed, run
from telemetry.errors import SettingsError

SERVICE = "postgres-setup"

try:
    asyncio.run(run())
except (SetupFailed, SettingsError) as error:
    write_line(SERVICE, str(error), "error")
    sys.exit(1)
write_line(SERVICE, "roles and audit log are there", "info")
