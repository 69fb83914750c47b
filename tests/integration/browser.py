"""A real browser in a container of its own on the network of the published services, driven over its protocol."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from playwright.sync_api import Browser, sync_playwright

from lookout import engine, images
from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until

RECIPE = "chromium"
PORT = 9222
STARTS_WITHIN = 60
"""Seconds that the browser may take to start, on a machine that is busy with a stack."""


@contextmanager
def chromium(stack: Project) -> Iterator[Browser]:
    """Chromium beside the stack, gone afterwards."""
    source = images.parse_source(os.environ.get("IMAGES", "auto"))
    image = images.build(stack.stack, RECIPE, source, print)
    project = stack.stack.project
    name = f"{project}-browser"
    engine.run(
        "run", "--detach", "--init", "--name", name, "--network", f"{project}_edge",
        "--publish", f"127.0.0.1::{PORT}", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true",
        "--memory", "1g", image,
    )  # fmt: skip
    try:
        address = f"http://{engine.run('port', name, f'{PORT}/tcp').stdout.split()[0]}"
        poll_until(lambda: _answers(address), "the browser", within=STARTS_WITHIN)
        with sync_playwright() as playwright:
            browser = playwright.chromium.connect_over_cdp(address)
            try:
                yield browser
            finally:
                browser.close()
    finally:
        engine.run("rm", "--force", "--volumes", name, check=False)


def _answers(address: str) -> None:
    try:
        httpx.get(f"{address}/json/version", timeout=2).raise_for_status()
    except httpx.HTTPError as error:
        raise NotYet(f"{address}: {type(error).__name__}") from error
