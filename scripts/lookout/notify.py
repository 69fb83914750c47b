"""Receivers of the model → integrations of Alertmanager's configuration."""

from __future__ import annotations

from typing import Any

from .model import Receiver, Stack
from .secrets import path_of


def receivers(stack: Stack) -> list[dict[str, Any]]:
    """One Alertmanager receiver for each route of the model, with an integration for each place it leads to."""
    return [_receiver(route, [stack.receivers[name] for name in places]) for route, places in stack.routes.items()]


def _receiver(name: str, places: list[Receiver]) -> dict[str, Any]:
    receiver: dict[str, Any] = {"name": name}
    for place in places:
        kind, configuration = _integration(place)
        receiver.setdefault(f"{kind}_configs", []).append(configuration)
    return receiver


def _integration(place: Receiver) -> tuple[str, dict[str, Any]]:
    """The kind of an integration and its configuration; messages come from message.tmpl."""
    common = {"send_resolved": True}
    if place.webhook:
        return "webhook", common | {"url": str(place.webhook.url), "max_alerts": 0, "timeout": "10s"}
    if place.slack:
        return "slack", common | {
            "api_url_file": path_of(place.slack.api_url_file.name),
            "channel": place.slack.channel,
            "title": '{{ template "lookout.title" . }}',
            "text": '{{ template "lookout.text" . }}',
        }
    if place.telegram:
        return "telegram", common | {
            "bot_token_file": path_of(place.telegram.bot_token_file.name),
            "chat_id": place.telegram.chat_id,
            "parse_mode": "",
            "message": '{{ template "lookout.title" . }}\n{{ template "lookout.text" . }}',
        }
    if place.email:
        return "email", common | {
            "to": place.email.to,
            "from": place.email.sender,
            "smarthost": str(place.email.smarthost),
            "auth_username": place.email.username,
            "auth_password_file": path_of(place.email.password_file.name),
            "headers": {"Subject": '{{ template "lookout.title" . }}'},
            "text": '{{ template "lookout.text" . }}',
        }
    assert place.pagerduty is not None  # Receiver holds exactly one kind
    return "pagerduty", common | {
        "routing_key_file": path_of(place.pagerduty.routing_key_file.name),
        "description": '{{ template "lookout.title" . }}',
    }
