"""What `swarmproof list` shows: plug-ins with their parameters, models, experiments, settings."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Iterator

from pydantic.fields import FieldInfo

from swarmproof import config, registry
from swarmproof.config import presets, reference

_WIDTH = 70  # characters of a default value; templates of prompts are longer


def describe(kind: str) -> Iterator[str]:
    """The lines that `list KIND` prints; the kind is a key of `KINDS`."""
    yield kind
    yield from KINDS[kind]()


def _plugins(kind: registry.Kind) -> Callable[[], Iterator[str]]:
    def lines() -> Iterator[str]:
        for name, plugin in registry.plugins(kind).items():
            yield f"  {name}: {_first_line(plugin)}"
            if topologies := getattr(plugin, "topologies", ()):
                yield f"      for {' and '.join(topologies)} swarms"
            for parameter, info in plugin.model_fields.items():
                told = f"  # {info.description}" if info.description else ""
                yield f"      {parameter}{_default(info)}{told}"

    return lines


def _presets() -> Iterator[str]:
    for name, preset in presets.PRESETS.items():
        yield f"  {name}: {preset.why}"
        yield f"      {', '.join(table['name'] for table in preset.defenses)}"


def explain(name: str) -> Iterator[str]:
    """What `explain NAME` prints.

    Raises:
        ValueError: no preset has this name.
    """
    preset = presets.preset(name)
    yield f"{name}: {preset.why}"
    yield f'  [guard] preset = "{name}"   # or Guard(preset="{name}") in a trainer'
    if preset.programs:
        yield "  for answers that are programs; a guard with this preset takes them for such"
    yield "defences"
    for table in preset.defenses:
        sheet = _first_line(registry.find("defense", table))
        own = ", ".join(f"{key} = {value!r}" for key, value in table.items() if key != "name")
        yield f"  {table['name']}{f' ({own})' if own else ''}: {sheet}"
    for title, lines in (
        ("it assumes", preset.assumes),
        ("it costs", (preset.costs,)),
        ("it does not stop", preset.not_stopped),
    ):
        yield title
        yield from (f"  - {line}" for line in lines)


def _models() -> Iterator[str]:
    from swarmproof import zoo
    from swarmproof.zoo import addable, added

    for name in zoo.names():
        yield f"  {name}"
    for name in added.names():
        yield f"  {name} (added)"
    for name in addable.ADDABLE.keys() - {*added.names()}:
        yield f"  {name} (not here yet: swarmproof zoo add {name})"
    yield "  or a folder with a Hugging Face model, or a hub id"


def _experiments() -> Iterator[str]:
    for name, path in config.shipped().items():
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        yield f"  {name}: {table.get('title', '')}"
        yield f"      arms: {', '.join(table.get('arms', {}))}"


def _figures() -> Iterator[str]:
    from swarmproof.reproduce import figures

    for name in figures.names("tiny"):
        figure = figures.read(name, "tiny")
        yield f"  {name}: {figure.title}"
        if isinstance(figure, figures.LeftOut):
            yield f"      {figure.reason}"
        elif isinstance(figure, figures.Curves):
            yield f"      curves: {', '.join(figure.arms())}"


KINDS: dict[str, Callable[[], Iterator[str]]] = {
    "attacks": _plugins("attack"),
    "defenses": _plugins("defense"),
    "presets": _presets,
    "judges": _plugins("judge"),
    "tasks": _plugins("task"),
    "exchanges": _plugins("exchange"),
    "generators": _plugins("generator"),
    "models": _models,
    "experiments": _experiments,
    "figures": _figures,
    "settings": reference.lines,
}


def _first_line(plugin: type[registry.Plugin]) -> str:
    # Not `getdoc`, which falls back on the docstring of the base class.
    return inspect.cleandoc(plugin.__doc__ or "").partition("\n")[0]


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return " (required)"
    value = info.get_default(call_default_factory=True)
    text = f'{{ name = "{value.name}" }}' if isinstance(value, registry.Plugin) else repr(value)
    return f" = {text}" if len(text) <= _WIDTH else f" = {text[:_WIDTH]} …"
