"""What two configs differ in, as `config.json` holds them. Pure; knows no file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from swarmproof.config.quoting import dotted, quote

_ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that two configs do not share."""

    keys: tuple[str, ...]
    old: Any
    new: Any

    @property
    def key(self) -> str:
        return dotted(self.keys)

    @property
    def new_text(self) -> str:
        return _value(self.new)

    def told(self) -> str:
        """`grpo.lr = 0.1, now 0.2`, with long values cut."""
        return f"{self.key} = {_value(self.old)}, now {self.new_text}"


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], keys: tuple[str, ...] = ()
) -> Iterator[Difference]:
    """Every setting that differs, in the order of `new`; a list is one setting."""
    for key in [*new, *(key for key in old if key not in new)]:
        before, after = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from differences(before, after, (*keys, key))
        elif before != after:
            yield Difference((*keys, key), before, after)


def refuse_other(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Check that a run can go on with a config: an equal one, or one with more rounds.

    Args:
        where: the run folder, for the error.
        old: what the run was started with.
        new: what it would go on with.

    Raises:
        ValueError: one line that names the first setting that differs, with both values.
    """
    first = next((each for each in differences(old, new) if not _longer(each, new)), None)
    if first is None:
        return
    if first.keys == ("name",):
        raise ValueError(
            f"{where} was made by the experiment {quote(first.old)}, and this one is called "
            f"{quote(first.new)}; if only the file was renamed, put `name = {quote(first.old)}` "
            "into it, or else choose another folder with --out"
        )
    arms = old.get("arms")
    if first.keys[0] == "arms" and isinstance(arms, Mapping) and arms.keys() != new["arms"].keys():
        before, after = (
            ", ".join(dotted((arm,)) for arm in named)[:200] or "none"
            for named in (arms, new["arms"])
        )
        raise ValueError(
            f"{where} has the arms {before}, and this run has {after}; give the same arms (--arm) "
            "to resume it, or choose another folder with --out"
        )
    raise ValueError(
        f"{where} was made with {first.told()}; give the same settings to resume it, or choose "
        "another folder with --out"
    )


def _longer(found: Difference, new: Mapping[str, Any]) -> bool:
    """Whether the arm of a simulated swarm of one model goes on for longer.

    Others may not: nodes that exchange files, and the parts of a swarm of several models on a
    cluster, know their run by an id of which the rounds are a part.
    """
    if len(found.keys) != 3 or found.keys[0] != "arms" or found.keys[2] != "rounds":
        return False
    arm = new["arms"][found.keys[1]]
    simulated = arm["exchange"]["name"] == "memory" and not arm["swarm"].get("models")
    return simulated and type(found.old) is int and found.old < found.new


def _value(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    if isinstance(value, Mapping):
        return f"a table of {', '.join(map(quote, value))}"[:80]
    return quote(value)
