"""The model: its types, how it is read, what makes it consistent."""

from .generated import generated_secrets, role_of, secret_of_role
from .load import load
from .stack import VISITED, Image, Receiver, Scrape, Server, Service, Stack
from .types import Duration, Percent, SecretFile, Size

__all__ = [
    "VISITED",
    "Duration",
    "Image",
    "Percent",
    "Receiver",
    "Scrape",
    "SecretFile",
    "Server",
    "Service",
    "Size",
    "Stack",
    "generated_secrets",
    "load",
    "role_of",
    "secret_of_role",
]
