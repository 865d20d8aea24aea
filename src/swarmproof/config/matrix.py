"""`[matrix]` of an experiment: every attack with every defence, each pair an arm.

Knows how a grid becomes tables of arms; not what an attack or a defence is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swarmproof import registry
from swarmproof.config.quoting import quote
from swarmproof.config.tables import merge

_AXES = ("attacks", "defenses")
NONE = "none"  # of either axis: nobody attacks, nothing defends
MAX_ARMS = 1024


def arms(matrix: object) -> dict[str, dict[str, Any]]:
    """The arms of a grid, named `attack.defense`, attack by attack.

    Args:
        matrix: two axes, `attacks` and `defenses`. An axis is a list of names of plug-ins, or a
            table of arms' settings by a name of its own. `none` in a list is no malicious node,
            or no defence.

    >>> arms({"attacks": ["text"], "defenses": {"strict": {"grpo": {"beta": 0.1}}}})
    {'text.strict': {'attack': {'name': 'text'}, 'grpo': {'beta': 0.1}}}

    Raises:
        ValueError: one line that names the axis.
    """
    if not isinstance(matrix, Mapping):  # a mistake in a file, whatever its kind
        raise ValueError(  # noqa: TRY004
            f"matrix must be a table with attacks and defenses, not {quote(matrix)}"
        )
    for key in matrix:
        if key not in _AXES:
            raise ValueError(
                f"matrix: unknown setting {quote(key)}{registry.did_you_mean(key[:60], _AXES)}"
            )
    attacks, defenses = (_axis(matrix, name) for name in _AXES)
    if len(attacks) * len(defenses) > MAX_ARMS:
        raise ValueError(f"matrix has {len(attacks) * len(defenses)} arms; at most {MAX_ARMS}")
    return {
        f"{attack}.{defense}": merge(at, under)
        for attack, at in attacks.items()
        for defense, under in defenses.items()
    }


def _axis(matrix: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    axis = matrix.get(name)
    if isinstance(axis, dict) and axis and all(isinstance(table, dict) for table in axis.values()):
        return axis
    if isinstance(axis, list) and axis and all(isinstance(word, str) for word in axis):
        if repeated := {word for word in axis if axis.count(word) > 1}:
            raise ValueError(f"matrix.{name}: {quote(min(repeated))} is listed twice")
        return {word: _table(name, word) for word in axis}
    raise ValueError(
        f'matrix.{name} must be a list of names such as ["none", "logit"], or a table of tables '
        f"such as [matrix.{name}.mine]"
    )


def _table(axis: str, word: str) -> dict[str, Any]:
    if axis == "attacks":
        return {"swarm": {"malicious": 0}} if word == NONE else {"attack": {"name": word}}
    return {"defenses": [] if word == NONE else [{"name": word}]}
