"""Reads an experiment: a TOML file, checked to the last key before anything is computed.

`load` reads a shipped name or a file, applies `--set` overrides and resolves every arm to a
`TrialConfig`. Nothing here imports torch, so that a mistake is reported within a second.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from swarmproof import registry
from swarmproof.config.settings import ExperimentConfig, TrialConfig

ModelT = TypeVar("ModelT", bound=BaseModel)

# Settings of a whole experiment; all others are of its arms.
_HEAD = ("name", "title", "claim", "seeds")
_PLUGINS: dict[str, registry.Kind] = {
    "task": "task",
    "attack": "attack",
    "exchange": "exchange",
    "defenses": "defense",
    "judge": "defense",  # of `swarmproof judge-eval`
}


def shipped() -> dict[str, Path]:
    """The experiments that come with the package: name -> TOML file."""
    root = Path(str(files("swarmproof"))) / "experiments"
    found = sorted(root.rglob("*.toml"))
    return {str(path.relative_to(root).with_suffix("")): path for path in found}


def load(
    name_or_path: str,
    *,
    arms: Iterable[str] = (),
    overrides: Iterable[str] = (),
    seeds: tuple[int, ...] | None = None,
) -> ExperimentConfig:
    """Read, override and check an experiment.

    Args:
        name_or_path: a shipped experiment, or a path that ends in `.toml`.
        arms: run only these; all if empty.
        overrides: `key.sub=value`, the value in TOML (a bare word is taken as a string); applied
            to every arm after the arm's own settings.
        seeds: instead of the file's.

    Raises:
        ValueError: one line that names the key and the remedy.
    """
    path = _find(name_or_path)
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # RecursionError: tables within tables
        raise ValueError(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    head: dict[str, Any] = {key: raw.pop(key) for key in _HEAD if key in raw}
    arm_tables = raw.pop("arms", {})
    if not isinstance(arm_tables, dict) or not arm_tables:
        raise ValueError(f"{path} has no arms; add at least one table such as [arms.attack]")
    wanted = list(arms) or list(arm_tables)
    for arm in wanted:
        if arm not in arm_tables:
            raise ValueError(
                f"{path.stem} has no arm {arm!r}{registry.did_you_mean(arm, arm_tables)}"
            )
    _reject_unknown(raw, (*_HEAD, "arms", *TrialConfig.model_fields))
    for arm, table in arm_tables.items():
        if not re.fullmatch(r"\w[\w.-]*", arm):
            raise ValueError(f"an arm cannot be called {arm!r}; use letters, digits, -, _ and dots")
        if not isinstance(table, dict):  # a mistake in a file, whatever its kind, is a ValueError
            raise ValueError(  # noqa: TRY004
                f"arms.{arm} must be a table such as [arms.{arm}], not {table!r:.60}"
            )
        if part := next((key for key in table if key[:1].isdigit()), ""):
            raise ValueError(f'an arm with a dot in its name needs quotes: [arms."{arm}.{part}"]')
        _reject_unknown(table, tuple(TrialConfig.model_fields))
    overrides = list(overrides)
    resolved = {arm: override(_merge(raw, arm_tables[arm]), overrides) for arm in wanted}
    head.setdefault("name", path.stem)
    if seeds is not None:
        head["seeds"] = seeds
    return validate(ExperimentConfig, {**head, "arms": resolved})


def override(table: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """The table with `key.sub=value` texts laid on top; a ValueError names one that is no such."""
    table = dict(table)
    for key_path, value in [_parse_override(text) for text in overrides]:
        table = _merge(table, _nest(key_path, value))
    return table


def validate(model: type[ModelT], table: Mapping[str, Any]) -> ModelT:
    """`model_validate` with pydantic's report cut down to one line that names the key."""
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise ValueError(_one_line(error, model, table)) from None


def _find(name_or_path: str) -> Path:
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        if not path.is_file():
            raise ValueError(f"there is no file {name_or_path}")
        return path
    known = shipped()
    if name_or_path not in known:
        raise ValueError(
            f"no experiment is called {name_or_path!r}"
            f"{registry.did_you_mean(name_or_path, known)}; "
            "for a file of your own give a path that ends in .toml"
        )
    return known[name_or_path]


def _reject_unknown(table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"unknown setting {key!r}{registry.did_you_mean(key, known)}")


def _parse_override(text: str) -> tuple[list[str], Any]:
    key, equals, literal = text.partition("=")
    keys = [part.strip() for part in key.split(".")]
    if not equals or not all(keys):
        raise ValueError(f"--set {text!r:.60}: write it as key=value, for example grpo.lr=1e-4")
    if keys[0] in _HEAD:
        raise ValueError(
            f"--set {text!r:.60}: {keys[0]} is not a setting of an arm; change it in the file"
            + (", or use --seeds" if keys[0] == "seeds" else "")
        )
    try:
        parsed = tomllib.loads(f"value = {literal}")
    except (ValueError, RecursionError):
        return keys, literal
    # Only a text with line breaks in it can hold more than the one value.
    return keys, parsed["value"] if len(parsed) == 1 else literal


def _nest(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, table by table; a table that names another plug-in replaces it."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            same = value.get("name", old.get("name")) == old.get("name")
            value = _merge(old, value) if same else value
        merged[key] = value
    return merged


def _one_line(error: ValidationError, model: type[BaseModel], table: Mapping[str, Any]) -> str:
    """`grpo.lr: Input should be greater than 0 (got -1)`, with a guess for a misspelt key."""
    first = error.errors(include_url=False)[0]
    keys = first["loc"]
    if keys[:1] == ("arms",) and len(keys) > 1:
        model, table, keys = TrialConfig, table["arms"][keys[1]], keys[2:]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = _known(model, table, keys[:-1])
        message = f"unknown setting{registry.did_you_mean(str(keys[-1]), known)}"
    elif first["type"] == "missing":
        message = "this setting is missing, and has no default"
    elif first["type"] != "value_error":
        message = f"{message} (got {_short(first['input'])})"
    where = ".".join(map(str, keys))
    return " ".join((f"{where}: {message}" if where else message).split())


def _known(
    model: type[BaseModel], table: Mapping[str, Any], keys: tuple[int | str, ...]
) -> list[str]:
    """The settings that there are at `keys` of a table; in a plug-in's table, that plug-in's."""
    kind: registry.Kind | None = None
    value: Any = table
    fields: Any = model.model_fields
    for key in keys:
        value = value[key]
        if kind:
            kind = "judge" if key == "model" else kind  # the back end of a judge
        elif not (kind := _PLUGINS.get(str(key))):
            fields = getattr(fields[key].annotation, "model_fields", {})
    return list(registry.plugins(kind)[value["name"]].model_fields if kind else fields)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]} …"
