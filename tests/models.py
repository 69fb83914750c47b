"""Valid models, as Hypothesis draws them: the product's own with other services, receivers and times."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import strategies as st

from lookout.model import Stack
from lookout.render import ROOT

_SLUGS = st.from_regex(r"[a-z][a-z0-9]{1,8}(-[a-z0-9]{1,6})?", fullmatch=True)

_RECEIVERS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"webhook": {"url": "https://hooks.example.com:8443/a%20b?c=d&e='f'"}},
        {"webhook": {"url": "http://[2001:db8::1]:65535"}},
        {"slack": {"channel": "#on call", "api_url_file": "secrets/slack"}},
        {"telegram": {"chat_id": -100123, "bot_token_file": "secrets/telegram"}},
        {"telegram": {"chat_id": 2**52, "bot_token_file": "secrets/telegram"}},
        {"email": {"to": "On Call <a@example.com>", "sender": "b@example.com", "smarthost": "smtp.example.com:587",
                   "username": "b", "password_file": "secrets/smtp"}},
        {"pagerduty": {"routing_key_file": "secrets/pagerduty"}},
    ]
)  # fmt: skip


@st.composite
def valid_models(draw: st.DrawFn) -> Stack:
    """A model that the product must accept, render and have accepted by every tool."""
    model = yaml.safe_load((ROOT / "stack.yaml").read_text(encoding="utf-8"))
    model["project"] = draw(_SLUGS)
    taken = {service["name"] for service in model["services"]} | set(model["servers"])
    for name in draw(st.lists(_SLUGS.filter(lambda name: name not in taken), unique=True, max_size=5)):
        model["services"].append({"name": name, "owner": draw(_SLUGS), "address": f"{name}.example.com:9400"})
    for service in model["services"]:
        service["tier"] = draw(st.sampled_from(["critical", "standard"]))
    for severity in model["routes"]:
        names = draw(st.lists(_SLUGS, min_size=1, max_size=3, unique=True))
        model["receivers"].update({name: draw(_RECEIVERS) for name in names})
        model["routes"][severity] = names
    model["images"]["loki"]["reference"] = draw(
        st.sampled_from(["grafana/loki:3.7.6", "localhost:5000/loki:3.7.6", f"quay.io/a/loki:3.7.6@sha256:{'0a' * 32}"])
    )
    model["scrape"]["standard"] = draw(
        st.sampled_from([{"interval": "15s", "timeout": "10s"}, {"interval": "5s", "timeout": "5s"}])
    )
    model["alerts"]["error_rate"]["above"] = draw(st.sampled_from(["0.1%", "5%", "50%"]))
    model["alerts"]["error_rate"]["window"] = draw(st.sampled_from(["1m", "5m", "1h"]))
    model["alerts"]["error_rate"]["for"] = draw(st.sampled_from(["1ms", "5m", "6h"]))
    model["alerts"]["service_down"]["failed_scrapes"] = draw(st.integers(2, 5))
    model["alerts"]["restarts"]["more_than"] = draw(st.integers(1, 6))
    model["alerts"]["restarts"]["window"] = draw(st.sampled_from(["15m", "1d"]))
    model["scrape"]["slow"] = draw(
        st.sampled_from([{"interval": "30s", "timeout": "10s"}, {"interval": "12500ms", "timeout": "10s"}])
    )
    model["retention"] = {
        "metrics": draw(st.sampled_from(["2h", "15d", "292y"])),
        "logs": draw(st.sampled_from(["24h", "30d"])),
        "traces": draw(st.sampled_from(["1d", "2w"])),
        "audit": draw(st.sampled_from(["30d", "1y"])),
    }
    model["traces"]["stores"] = draw(st.sampled_from([["tempo"], ["jaeger"], ["tempo", "jaeger"]]))
    model["traces"]["keep"]["rest"] = draw(st.sampled_from(["0.1%", "0.5%", "100%"]))
    model["traffic"]["rate"] = draw(st.sampled_from([0, 0.5, 10]))
    return Stack.model_validate(model)
