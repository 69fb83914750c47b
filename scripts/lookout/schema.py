"""The JSON schema of stack.yaml, generated from the model's types: editors complete and check the file with it."""

from __future__ import annotations

import json
from typing import Final

from .model import Stack

FILE: Final = "stack.schema.json"


def text() -> str:
    """The schema as JSON, the same bytes for the same types."""
    schema = Stack.model_json_schema(by_alias=True)
    return (
        json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2, sort_keys=True)
        + "\n"
    )
