"""Which image each server gets, and from where: the engine's store, a registry, or a recipe built here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
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


@dataclass
class _Search:
    """One search for images. What was tried in vain, and the base of local images, are found out once.

    With ``obtain`` off nothing is pulled or built.
    """

    stack: Stack
    source: Source
    say: Callable[[str], None]
    obtain: bool = True
    vain: dict[str, str] = field(default_factory=dict)
    """A registry or a reference → why it cannot be pulled."""

    def choose(self, name: str) -> Choice:
        """The choice for a name of the model. Raises Unsatisfied when its recipe fails."""
        image = self.stack.images[name]
        why = "the model names no recipe for it" if image.recipe is None else "Lookout's own"
        if image.reference and self.source != "local":
            if engine.has_image(image.reference):
                return Choice(name, ImageUse(image.reference), "store", "the pinned image is in the engine's store")
            if not self.obtain:
                return Choice(name, ImageUse(image.reference), "to pull", self._instead_of(image.recipe))
            refused = self._pull(image.reference)
            if refused is None:
                return Choice(name, ImageUse(image.reference), "pulled", "pulled from its registry")
            why = f"{image.reference} cannot be pulled: {refused}"
            if self.source == "registry":
                return Choice(name, None, "missing", why)
        elif image.reference:
            why = f"{image.reference} has no recipe, and only local images were asked for"
        if image.recipe is None:
            return Choice(name, None, "missing", why)
        folder = f"compose/images/{image.recipe}"
        if there := self.built(image.recipe):
            return Choice(name, ImageUse(there, True), "store", f"built before from {folder}")
        if self.obtain:
            return Choice(name, ImageUse(self.build(image.recipe), True), "built", folder)
        return Choice(name, ImageUse(recipes.tag(image.recipe, self._base(image.recipe)), True), "to build", folder)

    def _pull(self, reference: str) -> str | None:
        """Pulls an image. None when it worked, else the reason why not, which is not asked for twice."""
        registry = registry_of(reference)
        known = self.vain.get(registry) or self.vain.get(reference)
        if known:
            return known
        self.say(f"pulling {reference}")
        reason = engine.pull(reference)
        if reason and ("no such host" in reason or "dial tcp" in reason or "timeout" in reason.lower()):
            self.vain[registry] = f"{registry} cannot be reached"
            self.say(f"{self.vain[registry]}: what is on this machine is used, or built")
        elif reason:
            self.vain[reference] = reason
        return reason

    def _instead_of(self, recipe: str | None) -> str:
        """Why an image is to be pulled, and what takes its place where that fails."""
        if recipe is None:
            return "not in the engine's store; left out if it cannot be pulled"
        place = "built before from" if self.built(recipe) else "built from"
        return f"not in the engine's store; if it cannot be pulled: {place} compose/images/{recipe}"

    def built(self, recipe: str) -> str | None:
        """The image of a recipe that the engine has. None where it has none on a base that would be taken now."""
        bases = self._bases if recipes.read(recipe).base == "debian" else (None,)
        return next(filter(engine.has_image, (recipes.tag(recipe, base) for base in bases)), None)

    def build(self, recipe: str) -> str:
        """Builds the image of a recipe, and its base where that is missing too; its reference."""
        base, own = self._base(recipe), self.stack.images["debian"].recipe
        if own and base == recipes.tag(own):
            recipes.build(own, None, self.say)
        return recipes.build(recipe, base, self.say)

    def _base(self, recipe: str) -> str | None:
        """What the image of a recipe stands on. Raises Unsatisfied where that cannot be had."""
        if recipes.read(recipe).base != "debian":
            return None
        if not self._bases:
            raise Unsatisfied(f"{recipe} cannot be built here without its base: {self.choose('debian').why}")
        return self._bases[0]

    @cached_property
    def _bases(self) -> tuple[str, ...]:
        """What local images stand on: Debian's own image, or one made of its packages.

        Both, the one to be tried first, while it is not known whether the first can be pulled.
        """
        debian = self.stack.images["debian"]
        own = (recipes.tag(debian.recipe),) if debian.recipe else ()
        if debian.reference is None or self.source == "local":
            return own
        own = own if self.source == "auto" else ()
        if engine.has_image(debian.reference) or (self.obtain and self._pull(debian.reference) is None):
            return (debian.reference,)
        return own if self.obtain else (debian.reference, *own)

    def every(self) -> list[Choice]:
        """A choice for each image that the model's containers use. Raises WrongUsage for a recipe that is not there."""
        for image in self.stack.images.values():
            if image.recipe is not None:
                recipes.read(image.recipe)
        used = {server.image for server in self.stack.running.values()} | (
            {"services"} if self.stack.bundled else set()
        )
        return [self.choose(name) for name in self.stack.images if name in used]


def would_use(stack: Stack, source: Source) -> list[Choice]:
    """A choice for each image that the model's containers use, with nothing pulled or built.

    Raises WrongUsage when the model names a recipe that is not there.
    """
    return _Search(stack, source, _nothing, obtain=False).every()


def obtain(stack: Stack, names: Iterable[str], source: Source, say: Callable[[str], None]) -> dict[str, Choice]:
    """The choices for images of the model by name, also for those that no server runs from; pulls or builds them."""
    search = _Search(stack, source, say)
    return {name: search.choose(name) for name in names}


def built(stack: Stack, recipe: str, source: Source) -> str | None:
    """The image of a recipe that the engine has, with nothing pulled or built. None where it has none."""
    return _Search(stack, source, _nothing, obtain=False).built(recipe)


def build(stack: Stack, recipe: str, source: Source, say: Callable[[str], None]) -> str:
    """Builds the image of a recipe that no server of the model runs from, and returns its reference.

    Raises Unsatisfied when it cannot be built.
    """
    search = _Search(stack, source, say)
    return search.built(recipe) or search.build(recipe)


def _nothing(_text: str) -> None:
    """Says nothing."""


def registry_of(reference: str) -> str:
    """The registry of a reference: its first part where that is a host, as ``docker pull`` reads it."""
    first, slash, _ = reference.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


def effective(stack: Stack, source: Source, strict: bool, say: Callable[[str], None]) -> Effective:
    """The model as this machine can run it.

    Raises Unsatisfied when ``strict`` and an image cannot be had, or when one that nothing can replace is missing.
    """
    search = _Search(stack, source, say)
    choices = search.every()
    notes: list[str] = []
    missing = {choice.name: choice for choice in choices if choice.use is None}
    stores = tuple(store for store in stack.traces.stores if stack.servers[store].image not in missing)
    if not stores:
        choices.append(_jaeger_instead(search, strict, missing))
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


def _jaeger_instead(search: _Search, strict: bool, missing: Mapping[str, Choice]) -> Choice:
    """Jaeger, where no trace store of the model can be had. Raises Unsatisfied without it too, and when ``strict``."""
    stack = search.stack
    whys = [missing[stack.servers[store].image].why for store in stack.traces.stores]
    if "jaeger" in stack.servers and not strict:
        choice = search.choose(stack.servers["jaeger"].image)
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
