"""Faults on demand, for tests and training; nothing here does anything unless FAULTS_PORT is set.

A service takes part with a hook at the place that shall be able to fail:

QUEUE_STALL = faults.hook("queue_stall")
...
await QUEUE_STALL.wait()
"""

from telemetry.faults.kinds import KINDS, BadFault, Kind, Parameter
from telemetry.faults.registry import FAULTS, Fault, Faults, Hook, Injected

__all__ = [
    "FAULTS",
    "KINDS",
    "BadFault",
    "Fault",
    "Faults",
    "Hook",
    "Injected",
    "Kind",
    "Parameter",
    "active",
    "declare",
    "hook",
    "reach",
]

active = FAULTS.active
declare = FAULTS.declare
hook = FAULTS.hook
reach = FAULTS.reach
