"""The command line: arguments, printing, exit codes."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from . import checks, engine, faults, images, machine, project, schema
from .errors import LookoutError, Unsatisfied
from .model import load
from .render import ROOT, render
from .verify import alerts, live, prometheus, smoke
from .verify.polling import NotYet
from .write import existing, write

_CRASH = "crash"
"""The fault that is over when it begins."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns 0 as claimed, 1 falls short, 2 wrong usage or model, 3 a tool is missing."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except LookoutError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lookout", description="An observability stack that proves itself.")
    parser.add_argument(
        "--model", type=Path, action="append", help="model file, then overlays in order (default: stack.yaml)"
    )
    parser.add_argument(
        "--project", type=Path, default=ROOT / "build" / "project", help="folder of the running project"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    def with_images(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--images", default="auto", help="auto, registry or local (docs/images.md)")
        sub.add_argument("--strict", action="store_true", help="fail when an image cannot be had")

    command("render", _render, "write rendered/ from the model")
    command("model", _model, "show the model with overlays applied")
    command("schema", _schema, "write stack.schema.json from the model's types")
    shown = command("images", _images, "show which image each server would run from, and why")
    with_images(shown)
    shown.add_argument("--obtain", action="store_true", help="pull or build what is missing, as `up` does")
    shown.add_argument(
        "--also", metavar="RECIPE", action="append", default=[], help="build this too, which no server runs from"
    )
    with_images(command("check", _check, "check everything that can be checked without a running stack"))
    up = command("up", _up, "start the stack, and end when it was seen live")
    with_images(up)
    up.add_argument("--within", type=float, default=180, help="seconds to become live in (default: 180)")
    command("status", _status, "ask the running stack what `up` asks")
    command("smoke", _smoke, "ask what `status` asks, then follow a request to each service into its signals")
    command("down", _down, "stop the stack, keep its data")
    command("clean", _clean, "stop the stack, delete its data and secrets")
    forget = command("forget", _forget, "forget a discovered service that does not run any more")
    forget.add_argument("service")
    logs = command("logs", _logs, "follow the logs of containers")
    logs.add_argument("containers", nargs="*")
    fault = command("fault", _fault, "make a service fail for a time, where the model allows it (docs/faults.md)")
    fault.add_argument("service")
    fault.add_argument("kind", help="what `lookout faults SERVICE` lists, such as errors, delay or crash")
    fault.add_argument("--seconds", type=float, default=60, help="how long (default: 60)")
    fault.add_argument("--share", type=float, help="share of requests, or of a core, from 0.01 to 1")
    fault.add_argument("--delay", type=float, help="seconds that a request waits")
    fault.add_argument("--dependency", help="which dependency is kept away")
    fault.add_argument("--mebibytes", type=float, help="how much memory is held")
    fault.add_argument("--factor", type=float, help="how many times the tokens are billed")
    listed = command("faults", _faults, "list the faults at work, or end them")
    listed.add_argument("services", nargs="*", metavar="service")
    listed.add_argument("--clear", action="store_true", help="end them")
    return parser


def _say(text: str) -> None:
    print(text, flush=True)


def _files(options: argparse.Namespace) -> list[Path]:
    return options.model or [ROOT / "stack.yaml"]


def _render(options: argparse.Namespace) -> int:
    files = render(load(_files(options)))
    changed = write(files, ROOT / "rendered")
    _say(f"rendered   {len(files)} files, {len(changed)} changed" + "".join(f"\n  {path}" for path in changed))
    return 0


def _model(options: argparse.Namespace) -> int:
    stack = load(_files(options))
    _say(yaml.safe_dump(stack.model_dump(mode="json", by_alias=True, exclude_defaults=True), sort_keys=False).rstrip())
    return 0


def _schema(_options: argparse.Namespace) -> int:
    write_to = ROOT / schema.FILE
    write_to.write_text(schema.text(), encoding="utf-8")
    _say(f"wrote      {schema.FILE}")
    return 0


def _images(options: argparse.Namespace) -> int:
    stack, source = load(_files(options)), images.parse_source(options.images)
    if options.obtain:
        machine.ensure(_say)
        choices = list(images.effective(stack, source, options.strict, _say).choices)
        for recipe in options.also:
            images.build(stack, recipe, source, _say)
    else:
        engine.require()
        choices = images.would_use(stack, source)
    for choice in choices:
        _say(f"{choice.name:<18} {choice.origin:<9} {choice.use.reference if choice.use else '-':<58} {choice.why}")
    missing = [choice.name for choice in choices if choice.use is None]
    if options.strict and missing:
        raise Unsatisfied(f"--strict, and there is no image {', '.join(missing)}: {images.SUPPLY}")
    return 0


def _check(options: argparse.Namespace) -> int:
    stack = load(_files(options))
    machine.ensure(_say)
    chosen = images.effective(stack, images.parse_source(options.images), options.strict, _say)
    # What is committed was rendered from the model alone: with an overlay there is nothing to compare it with.
    committed = existing(ROOT / "rendered") if options.model is None else None
    report = checks.run_all(stack, chosen, committed, _say)
    _say(report.summary())
    return 0 if report.ok else 1


def _up(options: argparse.Namespace) -> int:
    started = time.monotonic()
    stack_files = _files(options)
    load(stack_files)
    machine.ensure(_say)
    ready = project.prepare(stack_files, options.project, images.parse_source(options.images), options.strict, _say)
    begun = time.monotonic()
    project.start(ready)
    verdicts = project.wait_until_live(ready, options.within, _say)
    _say(project.table(ready, verdicts))
    if not all(verdict.ok for verdict in verdicts):
        raise Unsatisfied(f"not live after {time.monotonic() - begun:.0f} s\n{project.failures(ready, verdicts)}")
    _say(f"live in {time.monotonic() - begun:.0f} s ({time.monotonic() - started:.0f} s with images)")
    return 0


def _status(options: argparse.Namespace) -> int:
    engine.require()
    running = project.opened(options.project)
    if not running.compose.containers():
        raise Unsatisfied("nothing of this project runs: start it with `make up`")
    verdicts = live.verdicts(running.live, running.compose)
    _say(project.table(running, verdicts))
    if not all(verdict.ok for verdict in verdicts):
        raise Unsatisfied(project.failures(running, verdicts))
    try:
        firing = alerts.firing(running.live)
        found = prometheus.discovered(running.live)
    except NotYet as reason:
        raise Unsatisfied(str(reason)) from reason
    if found:
        _say("\ndiscovered: " + ", ".join(f"{service} ({state})" for service, state in found))
    _say("\nfiring: " + (", ".join(firing) or "Watchdog only"))
    return 0


def _smoke(options: argparse.Namespace) -> int:
    engine.require()
    running = project.opened(options.project)
    failed = 0
    for name, what, why in smoke.smoke(running.live, running.compose):
        failed += why is not None
        _say(f"{'ok  ' if why is None else 'FAIL'}  {name:<24} {what}" + (f": {why}" if why else ""))
    if failed:
        raise Unsatisfied(f"smoke      {failed} fell short")
    return 0


def _down(options: argparse.Namespace) -> int:
    engine.require()
    kept = project.stop(options.project)
    _say("stopped; data is kept (`make clean` deletes it)" + _kept(kept))
    return 0


def _clean(options: argparse.Namespace) -> int:
    engine.require()
    kept = project.stop(options.project, "--volumes")
    shutil.rmtree(options.project)
    _say("stopped; data and secrets are deleted" + _kept(kept))
    return 0


def _kept(networks: Mapping[str, Sequence[str]]) -> str:
    """A line for each network that stays, and why."""
    return "".join(
        f"\nleft: the network {name}, "
        + (f"because {', '.join(others)} is in it" if others else "empty, until the engine is started anew")
        for name, others in networks.items()
    )


def _forget(options: argparse.Namespace) -> int:
    engine.require()
    running = project.opened(options.project)
    if "discoverer" not in running.stack.running:
        raise Unsatisfied("this project runs no discoverer, so no service was discovered")
    command = ("exec", "-T", "discoverer", "python", "-m", "discoverer.forget", options.service)
    done = running.compose(*command, check=False)
    if done.returncode != 0:
        raise Unsatisfied(done.stderr.strip())
    _say(done.stdout.strip())
    return 0


def _logs(options: argparse.Namespace) -> int:
    engine.require()
    return project.opened(options.project).compose.follow(options.containers)


def _fault(options: argparse.Namespace) -> int:
    engine.require()
    names = ("seconds", "share", "delay", "dependency", "mebibytes", "factor")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    begun = faults.start(project.opened(options.project), options.service, options.kind, given)
    mend = "" if begun["kind"] == _CRASH else "; `lookout faults --clear` ends it"
    _say(f"{options.service}: {_in_words(begun)}{mend}")
    return 0


def _faults(options: argparse.Namespace) -> int:
    engine.require()
    running = project.opened(options.project)

    def ask(service: str) -> str | Unsatisfied:
        try:
            if options.clear:
                return f"{service:<20} {faults.clear(running, service)} ended"
            found = faults.listed(running, service)
        except Unsatisfied as reason:  # one that crashed must not hide what is at work in the others
            return reason
        line = f"{service:<20} {'; '.join(map(_in_words, found['active'])) or 'none'}"
        return line + (f"\n{'':<20} can have: {', '.join(found['kinds'])}" if options.services else "")

    services = options.services or faults.services(running)
    with ThreadPoolExecutor(len(services)) as pool:
        answers = list(pool.map(ask, services))
    for answer in answers:
        if isinstance(answer, str):
            _say(answer)
    if silent := [str(answer) for answer in answers if isinstance(answer, Unsatisfied)]:
        raise Unsatisfied("\n".join(silent))
    return 0


def _in_words(fault: Mapping[str, object]) -> str:
    """A fault as the service says of it."""
    kind = str(fault["kind"])
    if kind == _CRASH:
        return f"{kind}, the process ends at once"
    parameters = [f"{name} {value}" for name, value in fault.items() if name not in (kind, "kind", "seconds", "left")]
    # The seconds of a delay have the name of the kind.
    named = f"{kind} {fault[kind]:g} s" if kind in fault else kind
    return ", ".join([named, *parameters, f"{fault['left']:g} s left"])
