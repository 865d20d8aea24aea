"""Reads an experiment from a TOML file and checks every key before anything is computed.

`load` reads a shipped experiment or a file, applies overrides and resolves every arm to a
`TrialConfig`. Nothing here imports torch, so that a mistake is reported within a second.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from swarmproof import registry
from swarmproof.config import matrix
from swarmproof.config.experiment import ExperimentConfig, TrialConfig
from swarmproof.config.quoting import dotted, quote
from swarmproof.config.tables import (
    HEAD,
    MAX_DEPTH,
    Overrides,
    merge,
    override,
    refuse_out_of_reach,
    require_shallow,
)

ModelT = TypeVar("ModelT", bound=BaseModel)

_PLUGINS: dict[str, registry.Kind] = {
    "task": "task",
    "attack": "attack",
    "exchange": "exchange",
    "generator": "generator",
    "defenses": "defense",
    "judge": "defense",  # of `swarmproof judge-eval`
}
_MAX_FILE = 256 * 1024  # bytes; the largest that ships has 2 KiB
# An arm names a folder, which may have 255 bytes on most file systems.
_MAX_ARM_NAME = 200
# Strings and comments, so that a dot in them is not one of a key; then the parts of keys.
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"""|\\?\Z)|\'\'\'.*?(?:\'\'\'|\Z)|(?P<comment>#[^\n]*)'
    r'|"(?:\\[^\n]|[^"\\\n])*"?|\'[^\'\n]*\'?|[\w-]+|(?P<dot>\.)|(?P<space>[ \t]+)|(?P<other>.)',
    re.DOTALL,
)


def shipped() -> dict[str, Path]:
    """The experiments that come with the package: name -> TOML file."""
    root = Path(str(files("swarmproof"))) / "experiments"
    found = sorted(root.rglob("*.toml"))
    return {str(path.relative_to(root).with_suffix("")): path for path in found}


def find(name_or_path: str) -> Path:
    """The TOML file of a shipped experiment, or the one at a path that ends in `.toml`.

    Raises:
        ValueError: there is no such experiment or file; names the closest ones.
    """
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        try:
            is_file = path.is_file()
        except OSError:  # the name is too long
            is_file = False
        if not is_file:
            raise ValueError(f"there is no file {_short_path(name_or_path)}")
        return path
    known = shipped()
    if name_or_path not in known:
        close = difflib.get_close_matches(name_or_path[:100], known, n=3)
        guess = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
        raise ValueError(
            f"no experiment is called {quote(name_or_path)}; {guess}"
            "`swarmproof list experiments` shows all; for a file of your own give a path that ends "
            "in .toml"
        )
    return known[name_or_path]


def load(
    name_or_path: str,
    *,
    arms: Iterable[str] = (),
    overrides: Overrides = (),
    seeds: tuple[int, ...] | None = None,
) -> ExperimentConfig:
    """Read, override and check an experiment.

    Args:
        name_or_path: a shipped experiment, or a path that ends in `.toml`.
        arms: use only these; all if empty.
        overrides: laid on every arm after the arm's own settings: see `override`.
        seeds: used instead of the file's.

    Raises:
        ValueError: one line that names the key and the remedy.
    """
    path = find(name_or_path)
    raw = read_toml(path, "an experiment")
    head: dict[str, Any] = {key: raw.pop(key) for key in HEAD if key in raw}
    arm_tables = _arm_tables(path, raw)
    wanted = list(arms) or list(arm_tables)
    for arm in wanted:
        if arm not in arm_tables:
            raise ValueError(
                f"{path.stem} has no arm {quote(arm)}"
                f"{registry.did_you_mean(arm[:_MAX_ARM_NAME], arm_tables)}"
            )
    _reject_unknown(raw, (*HEAD, "arms", "matrix", *TrialConfig.model_fields))
    for arm, table in arm_tables.items():
        _check_arm(arm, table)
    if not isinstance(overrides, Mapping):
        overrides = list(overrides)
    resolved = {arm: override(merge(raw, arm_tables[arm]), overrides) for arm in wanted}
    head.setdefault("name", path.stem)
    if seeds is not None:
        head["seeds"] = seeds
    return validate(ExperimentConfig, {**head, "arms": resolved})


def validate(model: type[ModelT], table: Mapping[str, Any]) -> ModelT:
    """`model_validate`, with one line that names the key instead of pydantic's report.

    Raises:
        ValueError: that line.
    """
    require_shallow(table)
    arms = table.get("arms", {"": table})
    for arm in arms.values() if isinstance(arms, Mapping) else ():
        if isinstance(arm, Mapping):
            refuse_out_of_reach(arm)
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise ValueError(_one_line(error, model, table)) from None


def read_toml(path: Path, what: str, most: int = _MAX_FILE) -> dict[str, Any]:
    """The table in a file that somebody else may have written.

    Args:
        path: the file.
        what: it should be, for errors, such as `an experiment`.
        most: bytes that such a file may have.

    Raises:
        ValueError: one line: it cannot be read, is too large, or is not TOML.
    """
    try:
        size = path.stat().st_size
        if size > most:
            raise ValueError(f"{path} has {size:,} bytes; {what} has at most {most:,}")
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    try:
        text = data.decode("utf-8")
        _refuse_deep_keys(text)
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # RecursionError: tables within tables
        # The parser quotes a key whole, however long it is.
        reason = str(error) if len(str(error)) <= 200 else f"{str(error)[:200]} …"
        raise ValueError(f"{path} is not valid TOML: {reason}") from None


def _refuse_deep_keys(text: str) -> None:
    """Refuse what the parser would need minutes for: its time grows with a key's parts squared."""
    dots = 0
    for token in _TOKEN.finditer(text):
        if token["dot"]:
            dots += 1
        elif token["other"] or token["comment"]:
            dots = 0
        if dots >= MAX_DEPTH:
            line = text.count("\n", 0, token.start()) + 1
            raise ValueError(f"a key has more than {MAX_DEPTH} parts (line {line})")


def _arm_tables(path: Path, raw: dict[str, Any]) -> dict[str, Any]:
    """The tables of `[arms]` and of `[matrix]`, taken out of the file's."""
    tables = raw.pop("arms", {})
    if not isinstance(tables, dict):
        tables = {}
    if "matrix" in raw:
        grid = matrix.arms(raw.pop("matrix"))
        if both := grid.keys() & tables.keys():
            raise ValueError(f"the arm {quote(min(both))} is in [matrix] and in [arms]")
        tables = tables | grid
    if not tables:
        raise ValueError(f"{path} has no arms; add at least one table such as [arms.attack]")
    return tables


def _check_arm(arm: str, table: Any) -> None:
    if not re.fullmatch(r"\w[\w.-]*", arm):
        raise ValueError(
            f"an arm cannot be called {quote(arm)}; use letters, digits, -, _ and dots"
        )
    if len(arm.encode()) > _MAX_ARM_NAME:
        raise ValueError(
            f"an arm cannot be called {quote(arm)}: its name has {len(arm)} characters, and a "
            f"folder is named after it; use at most {_MAX_ARM_NAME // 4}"
        )
    if not isinstance(table, dict):  # a mistake in a file, whatever its kind, is a ValueError
        raise ValueError(  # noqa: TRY004
            f"arms.{arm} must be a table such as [arms.{arm}], not {quote(table)}"
        )
    if part := next((key for key in table if key[:1].isdigit()), ""):
        raise ValueError(f'an arm with a dot in its name needs quotes: [arms."{arm}.{part[:20]}"]')
    _reject_unknown(table, tuple(TrialConfig.model_fields))


def _reject_unknown(table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise ValueError(
                f"unknown setting {quote(key)}{registry.did_you_mean(key[:100], known)}"
            )


def _one_line(error: ValidationError, model: type[BaseModel], table: Mapping[str, Any]) -> str:
    """`grpo.lr: Input should be greater than 0 (got -1)`, with a guess for a misspelt key."""
    first = error.errors(include_url=False)[0]
    keys = first["loc"]
    if keys[:1] == ("arms",) and len(keys) > 1:
        model, table, keys = TrialConfig, table["arms"][keys[1]], keys[2:]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = _known(model, table, keys[:-1])
        message = f"unknown setting{registry.did_you_mean(str(keys[-1])[:100], known)}"
    elif first["type"] == "missing":
        message = "this setting is missing, and has no default"
    elif first["type"] != "value_error":
        message = f"{message} (got {quote(first['input'])})"
    where = dotted(keys)
    return " ".join((f"{where}: {message}" if where else message).split())


def _known(
    model: type[BaseModel], table: Mapping[str, Any], keys: tuple[int | str, ...]
) -> list[str]:
    """The known settings at `keys` of a table; within a plug-in's table, its parameters."""
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


def _short_path(text: str) -> str:
    return text if len(text) <= 100 and text.isprintable() else quote(text)
