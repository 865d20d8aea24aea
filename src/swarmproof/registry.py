"""Plug-ins by name. A plug-in is a frozen pydantic model: its fields are its parameters.

This module does not know what an attack or a defence does, only how to find and check it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from typing import ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

Kind = Literal["task", "attack", "defense", "judge", "exchange", "generator"]
KINDS: tuple[Kind, ...] = ("task", "attack", "defense", "judge", "exchange", "generator")


class Plugin(BaseModel):
    """Base of every plug-in. Unknown parameters are errors; the fields define bounds."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: ClassVar[str]
    kind: ClassVar[Kind]

    @classmethod
    def require_class(cls) -> None:
        """Check the class when it is registered, for errors that no parameter can fix.

        Raises:
            ValueError: one line with the remedy.
        """
        if missing := sorted(cls.__abstractmethods__):
            raise ValueError(f"the class {cls.__name__} does not define {', '.join(missing)}")


PluginT = TypeVar("PluginT", bound=Plugin)
PluginClass = TypeVar("PluginClass", bound=type[Plugin])
_registered: dict[Kind, dict[str, type[Plugin]]] = {kind: {} for kind in KINDS}
_loaded_entry_points = False


def register(kind: Kind, name: str) -> Callable[[PluginClass], PluginClass]:
    """Class decorator that registers a plug-in of this `kind` under `name`."""

    def add(plugin: PluginClass) -> PluginClass:
        if name in _registered[kind]:
            raise ValueError(f"two {kind} plug-ins are called {name!r}; rename one of them")
        plugin.require_class()
        plugin.name, plugin.kind = name, kind
        _registered[kind][name] = plugin
        return plugin

    return add


def plugins(kind: Kind) -> dict[str, type[Plugin]]:
    """All plug-ins of a kind by name: our own, then those of the entry-point group."""
    global _loaded_entry_points
    if not _loaded_entry_points:
        _loaded_entry_points = True
        for point in entry_points(group="swarmproof.plugins"):
            try:
                point.load()
            except (ImportError, AttributeError, SyntaxError) as error:
                raise ValueError(
                    f"the plug-in {point.name!r} of the installed package "
                    f"{point.dist.name if point.dist else point.value!r} does not import "
                    f"({error}); fix the package, or uninstall it"
                ) from error
    return dict(sorted(_registered[kind].items()))


def find(kind: Kind, table: Mapping[str, object]) -> type[Plugin]:
    """The plug-in class that a table such as `{name = "text", phrase = "…"}` names.

    Raises:
        ValueError: the name is missing or unknown; lists the known ones.
    """
    name, known = table.get("name"), plugins(kind)
    if name is None:
        raise ValueError(f"the {kind} has no `name`; known: {', '.join(known)}")
    if str(name) not in known:
        raise ValueError(
            f"no {kind} is called {name!r:.60}{did_you_mean(str(name), known)}; one of your own is "
            "found if its package is installed: docs/plugins.md"
        )
    return known[str(name)]


def check(kind: Kind, table: Mapping[str, object]) -> Plugin:
    """The plug-in that a table describes, an instance of the class registered for its name.

    Raises:
        ValueError: no or an unknown name, or wrong parameters (pydantic's own error, which is a
            `ValueError`).
    """
    parameters = {key: value for key, value in table.items() if key != "name"}
    return find(kind, table).model_validate(parameters)


def build(base: type[PluginT], table: Mapping[str, object]) -> PluginT:
    """The same with its type: `build(Task, {"name": "math_words"})` is a `Task`.

    Raises:
        ValueError: as `check` does, or the registered class does not derive from `base`.
    """
    built = check(base.kind, table)
    if not isinstance(built, base):
        raise ValueError(  # noqa: TRY004 - the mistake is in an installed package
            f"the {base.kind} {built.name!r} of {type(built).__module__} does not derive from "
            f"{base.__name__}; fix that package, or uninstall it"
        )
    return built


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'? (known: …)`, to end an error about an unknown word."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else ""
    return f"{guess} (known: {', '.join(known)})"
