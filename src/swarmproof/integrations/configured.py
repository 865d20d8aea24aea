"""The guard of a trainer that imports its hooks by name: chosen by a file or the environment.

`SWARMPROOF_GUARD` is the name of a preset, or the path of a TOML file with the fields of
`GuardFile`. What a hook cannot do is refused here, before the first completion.
"""

from __future__ import annotations

import os
import threading
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from swarmproof.config import OnReject, validate
from swarmproof.config.settings import Table
from swarmproof.defenses.base import Defense
from swarmproof.guard.guard import Guard
from swarmproof.integrations.rows import TrainerRow
from swarmproof.integrations.sidecar import Sidecar
from swarmproof.integrations.watch import OnError, Seen, Treatment, Watch

ENVIRONMENT = "SWARMPROOF_GUARD"

# Defences that compare a completion with others of its batch, or of earlier ones.
_COMPARE = (
    *("signature", "novelty", "length_match", "reward_outlier", "group_judge"),
    *("surprise", "spurious_tokens"),
)
_CREDIT_TOKENS = ("token_credit", "spurious_tokens")


class GuardFile(Table):
    """The fields of a guard's file."""

    preset: Annotated[str | None, Field(description="a preset, in place of defences")] = None
    defenses: Annotated[
        tuple[dict[str, Any], ...], Field(description="tables as in an experiment")
    ] = ()
    on_reject: Annotated[OnReject, Field(description="for defences that set none")] = "drop"
    seed: Annotated[int, Field(description="of the defences' random draws")] = 0
    programs: Annotated[
        bool | None,
        Field(description="whether the answers are programs; what the preset is for if not given"),
    ] = None
    sidecar: Annotated[str | None, Field(description="a JSON-lines file for all verdicts")] = None
    on_error: Annotated[
        OnError, Field(description="`monitor`: train as it came where the guard fails")
    ] = "stop"


class GuardFailedError(SystemExit):
    """The guard failed, so the run stops.

    It is a `SystemExit` because some trainers log every other exception and go on.
    """


def missing(trainer: str, package: str, remedy: str) -> ImportError:
    """The error of an adapter whose trainer is not installed."""
    return ImportError(
        f"swarmproof.integrations.{trainer} needs the package {package}; {remedy}", name=package
    )


@dataclass(frozen=True, slots=True)
class Seam:
    """What a trainer's hook can do.

    Args:
        trainer: its name in messages.
        modes: the rules for refusals that it achieves.
        sees: `batch`: all completions of a step at once. `completion`: one at a time.
        remedy: what to use in place of another mode.
        weighs: whether it can weigh a completion in its group's mean.
    """

    trainer: str
    modes: tuple[OnReject, ...]
    sees: Literal["batch", "completion"]
    remedy: str
    weighs: bool = False

    def require(self, guard: Guard) -> None:
        """Raise ValueError, in one line, if the guard needs what this hook cannot do."""
        if not guard.defenses:
            raise ValueError(f"the guard in {self.trainer} has no defences; name some, or a preset")
        for defense in guard.defenses:
            mode = guard.rules.by_defense[defense.name]
            if mode not in self.modes:
                raise ValueError(
                    f"the defence {defense.name!r} has on_reject = {mode!r}, which {self.trainer} "
                    f"cannot do ({', '.join(self.modes)}); {self.remedy}"
                )
            if self.sees == "completion" and defense.name in _COMPARE:
                raise ValueError(
                    f"the defence {defense.name!r} compares completions, and {self.trainer} shows "
                    "one at a time; use judge, equations or imports"
                )
            if _credits_tokens(defense):
                raise ValueError(
                    f"the defence {defense.name!r} changes the credit of single tokens, which "
                    f"{self.trainer} cannot do; "
                    + ('set mode = "refuse"' if defense.name == "equations" else "leave it out")
                )

    def require_done(self, treatment: Treatment) -> None:
        """Raise ValueError for a treatment that would not happen, as a defence decided just now."""
        mode: OnReject = (
            ("drop" if not treatment.votes else "mask" if not treatment.trains else "zero_reward")
            if not (treatment.votes and treatment.trains and not treatment.zeroed)
            else "monitor"
        )
        if mode not in (*self.modes, "monitor"):
            raise ValueError(f"{self.trainer} cannot {mode} a completion; {self.remedy}")
        if treatment.votes and treatment.weight != 1 and not self.weighs:
            raise ValueError(f"{self.trainer} cannot weigh a completion; drop that defence")
        if treatment.trains and any(credit != 1 for credit in treatment.token_credit or ()):
            raise ValueError(f"{self.trainer} cannot change the credit of single tokens")


@dataclass(slots=True)
class Hook:
    """A guard behind a trainer's hook. Safe for threads: it inspects one batch at a time.

    Args:
        seam: what the hook can do.
        guard: the guard, with its state.
        sidecar: a file for all verdicts.
        on_error: `stop`: a guard that fails stops the run. `monitor`: its batch passes as it came.
        swallowed: whether the trainer logs ordinary exceptions and goes on.

    Raises:
        ValueError: the guard needs what the hook cannot do.
    """

    seam: Seam
    guard: Guard
    sidecar: Sidecar | None = None
    on_error: OnError = "stop"
    swallowed: bool = False
    _watch: Watch = field(init=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.seam.require(self.guard)
        self._watch = Watch(self.guard, on_error=self.on_error)

    def look(
        self,
        rows: Sequence[TrainerRow],
        ids: Sequence[str] | None = None,
        step: int | None = None,
        groups: Sequence[str] | None = None,
    ) -> Seen:
        """Inspect rows together, and write the verdicts down.

        Args:
            rows: completions; all of the step if the trainer shows them together.
            ids: the trainer's own ids, for the sidecar.
            step: the trainer's step.
            groups: the trainer's own names of the groups, for the sidecar.

        Raises:
            GuardFailedError: the guard failed, in a trainer that would go on.
        """
        with self._lock:
            at = self._watch.round if step is None else step
            if not self.swallowed:
                return self._look(rows, ids, at, groups)
            try:
                return self._look(rows, ids, at, groups)
            except Exception as error:
                why = " ".join(f"{type(error).__name__}: {error}".split())[:500]
                raise GuardFailedError(
                    f"swarmproof: the guard failed, so the run stops: {why}"
                ) from error

    def _look(
        self,
        rows: Sequence[TrainerRow],
        ids: Sequence[str] | None,
        step: int,
        groups: Sequence[str] | None,
    ) -> Seen:
        seen = self._watch.look(rows, step)
        for treatment in seen.treatments:
            self.seam.require_done(treatment)
        if self.sidecar is not None:
            named = [dict(columns) for columns in seen.columns]
            for key, names in (("id", ids), ("group", groups)):
                for columns, name in zip(named, names or (), strict=False):
                    columns[key] = name
            self.sidecar.write(rows, named, step)
        return seen


def hook(seam: Seam, source: str | None = None, *, swallowed: bool = False) -> Hook:
    """The hook with the guard that a file or the environment names.

    Args:
        seam: what the hook can do.
        source: a preset, or a path that ends in `.toml`; the environment's if None.
        swallowed: as in `Hook`.

    Raises:
        ValueError: nothing is named, the file is wrong, or the hook cannot do what it asks for.
    """
    named = source if source is not None else os.environ.get(ENVIRONMENT, "")
    if not named:
        raise ValueError(
            f"{seam.trainer} has no guard; set {ENVIRONMENT} to a preset or to a file guard.toml"
        )
    file = read(Path(named)) if named.endswith(".toml") else GuardFile(preset=named)
    guard = Guard(
        file.defenses,
        file.preset,
        on_reject=file.on_reject,
        seed=file.seed,
        programs=file.programs,
    )
    for defense in guard.defenses:
        if defense.reads != "text":
            raise ValueError(
                f"the defence {defense.name!r} needs the trainer's current weights, which a guard "
                f"from a file does not have in {seam.trainer}; use one that reads texts"
            )
    sidecar = None if file.sidecar is None else Sidecar(file.sidecar)
    return Hook(seam, guard, sidecar, file.on_error, swallowed)


def read(path: Path) -> GuardFile:
    """A guard's file.

    Raises:
        ValueError: it cannot be read, or a field is unknown or wrong.
    """
    try:
        table: Mapping[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read the guard's file {path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"the guard's file {path} is no TOML: {str(error)[:200]}") from None
    return validate(GuardFile, table)


def _credits_tokens(defense: Defense) -> bool:
    if defense.name == "equations":
        return getattr(defense, "mode", "refuse") != "refuse"
    return defense.name in _CREDIT_TOKENS
