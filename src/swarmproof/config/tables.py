"""Tables of settings before they are checked: merging, overrides, and limits for every value.

Knows dotted keys and TOML values; not what a setting means.
"""

from __future__ import annotations

import numbers
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from swarmproof.config.quoting import dotted, quote

# Settings of a whole experiment; all others belong to its arms.
HEAD = ("name", "title", "claim", "seeds")

MAX_DEPTH = 16  # parts of a dotted key; the deepest setting has four
_MAX_NESTED = 32  # tables and lists within each other; the deepest that ships have eight
_MAX_TEXT = 65_536  # characters of one value
_MAX_INT = 2**63
# Beyond these a float32 overflows, or becomes 0, within a few operations.
_MIN_FLOAT, _MAX_FLOAT = 1e-30, 1e30

Overrides = Iterable[str] | Mapping[str, Any]


def override(table: Mapping[str, Any], overrides: Overrides) -> dict[str, Any]:
    """Lay settings on a table.

    Args:
        overrides: texts `key.sub=value`, the value in TOML (a bare word is a string); or a
            mapping from dotted keys to values, which may be tables.

    Raises:
        ValueError: one of them is malformed, or not a setting of an arm.
    """
    table = dict(table)
    laid = _of_mapping(overrides) if isinstance(overrides, Mapping) else map(_of_text, overrides)
    for keys, value in laid:
        table = merge(table, _nest(keys, value))
    return table


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `over` on `base`, table by table. A table that names another plug-in replaces the old."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            same = value.get("name", old.get("name")) == old.get("name")
            value = merge(old, value) if same else value
        merged[key] = value
    return merged


def require_shallow(value: object) -> None:
    """Check that no table is nested so deeply that what reads it would run out of stack.

    Raises:
        ValueError: it is.
    """
    level = [value]
    for _ in range(_MAX_NESTED + 1):
        inner: list[object] = []
        for each in level:
            if isinstance(each, Mapping):
                inner += each.values()
            elif isinstance(each, list | tuple):
                inner += each
        level = inner
    if level:
        raise ValueError(f"tables and lists are nested in more than {_MAX_NESTED} levels")


def refuse_out_of_reach(table: Mapping[str, Any]) -> None:
    """Check that no value is absurd, so that plug-ins need not bound each of their parameters.

    Raises:
        ValueError: an integer of more than 64 bits, a number that float32 cannot hold, a text of
            more than 65,536 characters.
    """
    for keys, value in _leaves(table, ()):
        problem = ""
        if isinstance(value, str):
            problem = "the text is too long" if len(value) > _MAX_TEXT else ""
        elif isinstance(value, float):
            # Infinity and NaN are refused by the setting itself.
            if 0 < abs(value) < _MIN_FLOAT:
                problem = f"the number is too close to 0 (at least {_MIN_FLOAT})"
            elif _MAX_FLOAT < abs(value) < float("inf"):
                problem = f"the number is too large (at most {_MAX_FLOAT})"
        elif isinstance(value, int) and not -_MAX_INT <= value < _MAX_INT:
            problem = "the number should be less than 2**63"
        if problem:
            raise ValueError(f"{dotted(keys)}: {problem} (got {quote(value)})")


def _of_text(text: str) -> tuple[list[str], Any]:
    key, equals, literal = text.partition("=")
    keys = [part.strip() for part in key.split(".")]
    if not equals or not all(keys):
        raise ValueError(f"--set {quote(text)}: write it as key=value, for example grpo.lr=1e-4")
    _require_setting_of_an_arm(keys, f"--set {quote(text)}")
    try:
        parsed = tomllib.loads(f"value = {literal}") if len(literal) <= _MAX_TEXT else {}
    except (ValueError, RecursionError):
        return keys, literal
    # Only a text with line breaks can hold more than the one value.
    return keys, parsed["value"] if len(parsed) == 1 else literal


def _of_mapping(settings: Mapping[str, Any]) -> Iterator[tuple[list[str], Any]]:
    for key, value in settings.items():
        keys = key.split(".") if isinstance(key, str) else []
        if not all(keys) or not keys:
            raise ValueError(
                f"set has the key {quote(key)}; use names with dots, for example 'grpo.lr'"
            )
        _require_setting_of_an_arm(keys, f"set {quote(key)}")
        yield keys, _plain(value, keys)


def _require_setting_of_an_arm(keys: list[str], where: str) -> None:
    if len(keys) > MAX_DEPTH:
        raise ValueError(f"{where}: the key has {len(keys)} parts; no setting has so many")
    if keys[0] in HEAD:
        raise ValueError(
            f"{where}: {keys[0]} is not a setting of an arm; change it in the file"
            + (", or use --seeds" if keys[0] == "seeds" else "")
        )


def _plain(value: Any, keys: list[str]) -> Any:
    """A Python value as TOML would give it; nested tables may have dotted keys again."""
    if len(keys) > MAX_DEPTH:
        raise ValueError(f"set {dotted(keys[:3])}: tables are nested too deeply")
    if isinstance(value, Mapping):
        table: dict[str, Any] = {}
        for key, inner in value.items():
            parts = str(key).split(".")
            table = merge(table, _nest(parts, _plain(inner, [*keys, *parts])))
        return table
    if isinstance(value, list | tuple):
        return [_plain(each, [*keys, str(i)]) for i, each in enumerate(value)]
    match value:
        case None | bool() | str() | int() | float():
            return value
        case os.PathLike():
            return os.fspath(value)
        # NumPy's numbers.
        case numbers.Integral():
            return int(value)
        case numbers.Real():
            return float(value)
    raise ValueError(
        f"set {dotted(keys)}: a setting is a text, a number, a truth value, a list or a table, "
        f"not {type(value).__name__}"
    )


def _nest(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def _leaves(value: Any, keys: tuple[int | str, ...]) -> Iterator[tuple[tuple[int | str, ...], Any]]:
    """Every value that is neither a table nor a list. Without recursion, as depth is the user's."""
    waiting = [(keys, value)]
    while waiting:
        keys, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [((*keys, key), inner) for key, inner in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [((*keys, i), inner) for i, inner in enumerate(value)]
        else:
            yield keys, value
