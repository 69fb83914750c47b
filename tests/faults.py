"""Faults in containers of a stack of our own, made from inside their own process namespace."""

from __future__ import annotations

import signal

from lookout import engine, project
from lookout.project import Project

_SEND = """
import os, sys, time
if open("/proc/1/comm").read().strip() not in ("docker-init", "tini"):
    sys.exit("PID 1 is not the init of a container: nothing here may be signalled")
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) not in (1, os.getpid()):
        try:
            parent = open(f"/proc/{name}/stat").read().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if parent == "1" or sys.argv[2] == "everything":
            print(repr(time.time()), flush=True)
            os.kill(int(name), int(sys.argv[1]))
"""


def send(stack: Project, container: str, number: signal.Signals, everything: bool = False) -> float:
    """Sends a signal to the server of a container: the child of its init, or every process of it but that init.

    A server that forks for each connection, as PostgreSQL does, hangs only as a whole. Returns the Unix time just
    before the first.
    Raises AssertionError where the container shares the machine's processes, or has no server.
    """
    found = stack.compose.containers()[container]
    assert found["HostConfig"]["PidMode"] == "", f"{container} shares processes with others"
    done = engine.run(
        "run", "--rm", "--network", "none", "--pid", f"container:{found['Id']}", "--user", "0", "--cap-drop", "ALL",
        "--cap-add", "KILL", project.images_of(stack.folder)["services"].reference,
        "python", "-c", _SEND, str(int(number)), "everything" if everything else "server", check=False,
    )  # fmt: skip
    # Where the signal ends the server, its namespace ends with it, and so does the sender: only the time counts.
    assert done.stdout.strip(), f"{container} has no server: {done.stderr}"
    return float(done.stdout.split()[0])
