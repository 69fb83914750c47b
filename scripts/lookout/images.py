"""Which image each server gets, and from where: the engine's store, a registry, or a recipe built here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from . import engine, recipes
from .errors import Unsatisfied, WrongUsage
from .model import Stack
from .render import ImageUse, as_written

Source = Literal["auto", "registry", "local"]
Origin = Literal["store", "pulled", "built", "to pull", "to build", "missing"]

SUPPLY: Final = "docs/images.md says how to supply it"
VITAL: Final = ("prometheus", "alertmanager", "probe")
"""Servers without whose image nothing is started."""


@dataclass(frozen=True)
class Choice:
    """The image that one name of the model resolves to; ``use`` is None when it cannot be had."""

    name: str
    use: ImageUse | None
    origin: Origin
    why: str


@dataclass(frozen=True)
class Effective:
    """The model with this machine's choices applied, and what they were."""

    stack: Stack
    images: dict[str, ImageUse]
    choices: tuple[Choice, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def resolve(stack: Stack, source: Source, say: Callable[[str], None], obtain: bool = True) -> list[Choice]:
    """A choice for each image that the model's containers use. With ``obtain`` off nothing is pulled or built.

    Raises WrongUsage when the model names a recipe that is not there.
    """
    for image in stack.images.values():
        if image.recipe is not None:
            recipes.read(image.recipe)
    unreachable: dict[str, str] = {}
    used = {server.image for server in stack.running.values()} | ({"services"} if stack.bundled else set())
    return [_choose(stack, name, source, say, obtain, unreachable) for name in stack.images if name in used]


def _choose(
    stack: Stack, name: str, source: Source, say: Callable[[str], None], obtain: bool, unreachable: dict[str, str]
) -> Choice:
    image = stack.images[name]
    why = "the model names no recipe for it" if image.recipe is None else "Lookout's own"
    if image.reference and source != "local":
        if engine.has_image(image.reference):
            return Choice(name, ImageUse(image.reference), "store", "the pinned image is in the engine's store")
        registry = registry_of(image.reference)
        if not obtain:
            return Choice(name, ImageUse(image.reference), "to pull", _instead_of(image.recipe))
        if registry not in unreachable:
            say(f"pulling {image.reference}")
            reason = engine.pull(image.reference)
            if reason is None:
                return Choice(name, ImageUse(image.reference), "pulled", "pulled from its registry")
            why = f"{image.reference} cannot be pulled: {reason}"
            if "no such host" in reason or "dial tcp" in reason or "timeout" in reason.lower():
                unreachable[registry] = f"{registry} cannot be reached"
                say(f"{unreachable[registry]}: what is on this machine is used, or built")
        else:
            why = f"{image.reference} cannot be pulled: {unreachable[registry]}"
        if source == "registry":
            return Choice(name, None, "missing", why)
    elif image.reference:
        why = f"{image.reference} has no recipe, and only local images were asked for"
    if image.recipe is None:
        return Choice(name, None, "missing", why)
    tag = recipes.tag(image.recipe)
    if engine.has_image(tag):
        return Choice(name, ImageUse(tag, True), "store", f"built before from compose/images/{image.recipe}")
    if obtain:
        recipes.build(image.recipe, lambda: _base(stack, source, say, unreachable), say)
    return Choice(name, ImageUse(tag, True), "built" if obtain else "to build", f"compose/images/{image.recipe}")


def registry_of(reference: str) -> str:
    """The registry of a reference: its first part where that is a host, as ``docker pull`` reads it."""
    first, slash, _ = reference.partition("/")
    return first if slash and ("." in first or ":" in first) else "docker.io"


def _instead_of(recipe: str | None) -> str:
    """Why an image is to be pulled, and what takes its place where that fails."""
    if recipe is None:
        return "not in the engine's store; left out if it cannot be pulled"
    place = "built before from" if engine.has_image(recipes.tag(recipe)) else "built from"
    return f"not in the engine's store; if it cannot be pulled: {place} compose/images/{recipe}"


def build(stack: Stack, recipe: str, source: Source, say: Callable[[str], None]) -> str:
    """Builds the image of a recipe that no server of the model runs from, and returns its reference.

    Raises Unsatisfied when it cannot be built.
    """
    return recipes.build(recipe, lambda: _base(stack, source, say, {}), say)


def _base(stack: Stack, source: Source, say: Callable[[str], None], unreachable: dict[str, str]) -> str:
    """The image that local images stand on: Debian's own, or one made of its packages."""
    choice = _choose(stack, "debian", source, say, True, unreachable)
    if choice.use is None:
        raise Unsatisfied(f"nothing can be built here: {choice.why}")
    return choice.use.reference


def effective(stack: Stack, source: Source, strict: bool, say: Callable[[str], None]) -> Effective:
    """The model as this machine can run it.

    Raises Unsatisfied when ``strict`` and an image cannot be had, or when one that nothing can replace is missing.
    """
    choices = resolve(stack, source, say)
    notes: list[str] = []
    missing = {choice.name: choice for choice in choices if choice.use is None}
    stores = tuple(store for store in stack.traces.stores if stack.servers[store].image not in missing)
    if not stores:
        choices.append(_jaeger_instead(stack, source, strict, say, missing))
        stores = ("jaeger",)
        notes.append("Jaeger is the trace store in the place of " + ", ".join(stack.traces.stores))
    left_out = tuple(name for name, server in stack.running.items() if server.image in missing)
    for name in left_out:
        why = missing[stack.running[name].image].why
        notes.append(f"left out: {name} ({why}; {SUPPLY})")
    if left_out and strict:
        raise Unsatisfied("--strict, and not everything can be had:\n  " + "\n  ".join(notes))
    vital = {stack.servers[name].image for name in VITAL} | ({"services"} if stack.bundled else set())
    if vital & missing.keys():
        whys = "; ".join(f"{name} ({choice.why})" for name, choice in missing.items() if name in vital)
        raise Unsatisfied(f"nothing runs without the image {whys}; {SUPPLY}")
    # A server of the model that was left out goes together with its scrape, datasource, rules, panels and port.
    servers = {name: server for name, server in stack.servers.items() if name not in left_out}
    ports = {name: port for name, port in stack.publish.ports.items() if name not in left_out}
    running = stack.model_copy(
        update={
            "servers": servers,
            "publish": stack.publish.model_copy(update={"ports": ports}),
            "traces": stack.traces.model_copy(update={"stores": stores}),
        }
    )
    images = {choice.name: choice.use for choice in choices if choice.use is not None}
    for name, written in as_written(stack).items():
        # Lookout's own images also get the name that rendered/ has, so that a copy of it finds them.
        if written.built and name in images:
            engine.run("tag", images[name].reference, written.reference)
    return Effective(running, images, tuple(choices), left_out, tuple(notes))


def _jaeger_instead(
    stack: Stack, source: Source, strict: bool, say: Callable[[str], None], missing: Mapping[str, Choice]
) -> Choice:
    """Jaeger, where no trace store of the model can be had. Raises Unsatisfied without it too, and when ``strict``."""
    whys = [missing[stack.servers[store].image].why for store in stack.traces.stores]
    if "jaeger" in stack.servers and not strict:
        choice = _choose(stack, stack.servers["jaeger"].image, source, say, True, {})
        if choice.use is not None:
            return choice
        whys.append(choice.why)
    raise Unsatisfied(f"no image of a trace store can be had: {'; '.join(dict.fromkeys(whys))}; {SUPPLY}")


def parse_source(word: str) -> Source:
    """``auto``, ``registry`` or ``local``. Raises WrongUsage for anything else."""
    match word:
        case "auto" | "registry" | "local":
            return word
    raise WrongUsage(f"--images is {word!r}; it can be auto, registry or local")
