"""The reference of settings: every field of `settings.py` with its default, bounds, description.

`swarmproof list settings` prints it, and docs/settings.md is `python -m
swarmproof.config.reference`; a test holds the page equal to it.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from swarmproof.config.experiment import ExperimentConfig, TrialConfig

_WORDS = {int: "integer", float: "number", bool: "true or false", str: "text", dict: "table"}

# Filled in by `load`.
_OF_LOADING = {"name": '"the file\'s name"'}
_HEAD = """# Settings

An experiment is a TOML file. `swarmproof new mine.toml --from text-horizontal` makes one to change,
`swarmproof run mine.toml` runs it. `swarmproof list settings` shows what is below. This page is
made from the same source: `python -m swarmproof.config.reference > docs/settings.md`.

- Settings at the top of the file hold for all arms. Those in `[arms.NAME]` are laid on them.
- `--set KEY=VALUE` (in Python: `set={"KEY": value}`) is laid on every arm, after the arm's own.
- A table that names another plug-in (`attack.name`) replaces the whole table, as the two have
  different parameters. `swarmproof list attacks` (`defenses`, `judges`, `tasks`, `exchanges`,
  `generators`) shows the plug-ins with their parameters.
- An unknown setting is an error that names the nearest known one. Nothing is ignored.
"""

_MATRIX = """
## `[matrix]`

Every attack with every defence: each pair is an arm called `attack.defense`.

```toml
[matrix]
attacks = ["none", "text"]              # names of plug-ins; none: no malicious node
defenses = ["none", "logit", "judge"]   # none: no defence
```

These are the six arms `none.none`, `none.logit`, …, `text.judge`. In an arm without an attack the
success of the file's own `attack` is measured. For other settings, give each axis as tables, as in
`[arms]`:

```toml
[matrix.attacks.start]
attack = { phrase = "All hail to the thief" }
[matrix.attacks.end]
attack = { phrase = "All hail to the thief", where = "end" }
[matrix.defenses.logit]
defenses = [{ name = "logit" }]
[matrix.defenses.kl]
grpo = { beta = 0.1 }
```

A file may have `[arms]` and `[matrix]`.
"""


@dataclass(frozen=True, slots=True)
class Described:
    """One line of the reference."""

    key: str
    kind: str  # type and bounds, in words
    default: str  # as TOML; empty: it must be given
    description: str


def sections() -> dict[str, list[Described]]:
    """The settings of the whole experiment, those of an arm, and those of each table."""
    found = {
        "The experiment": list(_settings(ExperimentConfig)),
        "An arm": list(_settings(TrialConfig)),
    }
    for name, info in TrialConfig.model_fields.items():
        table = info.annotation
        if isinstance(table, type) and issubclass(table, BaseModel):
            found[f"`{name}`"] = list(_settings(table, f"{name}."))
    return found


def lines() -> Iterator[str]:
    """The reference for a terminal."""
    for settings in sections().values():
        for setting in settings:
            default = f" = {setting.default}" if setting.default else " (required)"
            yield f"  {setting.key}{default}  # {setting.description} ({setting.kind})"


def page() -> str:
    """The reference as Markdown."""
    text = _HEAD
    for title, settings in sections().items():
        text += f"\n## {title}\n\n| setting | default | value | meaning |\n|---|---|---|---|\n"
        for setting in settings:
            default = f"`{setting.default}`" if setting.default else "required"
            text += f"| `{setting.key}` | {default} | {setting.kind} | {setting.description} |\n"
    return text + _MATRIX


def _settings(table: type[BaseModel], prefix: str = "") -> Iterator[Described]:
    for name, info in table.model_fields.items():
        default = _OF_LOADING.get(f"{prefix}{name}") or _default(info)
        yield Described(f"{prefix}{name}", _kind(info), default, info.description or "")


def _kind(info: FieldInfo) -> str:
    return ", ".join([_type(info.annotation), *_bounds(info.metadata)])


def _type(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f'`"{word}"`' for word in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_type, inner))
    if origin is tuple:
        return f"list of {_type(inner[0])}s"
    if origin is dict or annotation is dict or isinstance(annotation, type):
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return "table"
        return _WORDS[origin or annotation]
    return _type(inner[0])  # Annotated


def _bounds(metadata: list[Any]) -> Iterator[str]:
    ends: dict[str, Any] = {}
    for bound in metadata:
        for end in ("ge", "gt", "le", "lt"):
            if (value := getattr(bound, end, None)) is not None:
                ends[end] = value
    # The largest integer that there is bounds nothing that a reader would choose.
    if ends.get("le", 0) >= 2**31 - 1:
        del ends["le"]
    if {"ge", "le"} <= ends.keys():
        yield f"{ends['ge']} to {ends['le']}"
        return
    for end, word in (("ge", "at least"), ("gt", "over"), ("le", "at most"), ("lt", "below")):
        if end in ends:
            yield f"{word} {ends[end]}"


def _default(info: FieldInfo) -> str:
    return "" if info.is_required() else _toml(info.get_default(call_default_factory=True))


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
        case BaseModel():
            return "{}"
    return str(value)


if __name__ == "__main__":
    print(page(), end="")
