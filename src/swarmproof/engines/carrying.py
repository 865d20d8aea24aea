"""Plug-ins of third parties in the processes that run trials.

A new process knows the plug-ins of installed packages. A plug-in of any other module is unknown
there until that module is imported. A plug-in of the main script exists there only because a
spawned process runs the script again, and a plug-in of a notebook never does. Knows how that is
found out before anything is written; not what a plug-in or a trial does.
"""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import process, spawn
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarmproof import registry

if TYPE_CHECKING:
    from swarmproof.config import TrialConfig
    from swarmproof.engines.local import OnRound
    from swarmproof.swarm.trial import Trial
    from swarmproof.types import RoundRecord

_PROBE = "swarmproof-probe"
# Exit codes of the probe.
_UNGUARDED, _UNKNOWN = 93, 94
_REMEDY = (
    "move it into a .py file and import that, or run the trials in this process (jobs=0, --jobs 0)"
)


class UnguardedScriptError(ValueError):
    """The main script starts a run without `if __name__ == "__main__":`."""

    def __init__(self) -> None:
        super().__init__(
            "swarmproof.run starts processes that import this script: put the call under `if "
            '__name__ == "__main__":`, or give jobs=0 to run the trials in this process'
        )


@dataclass(frozen=True, slots=True)
class Carried:
    """The third parties' plug-ins that some trials use."""

    # Module, kind and name of each.
    plugins: tuple[tuple[str, registry.Kind, str], ...]

    @classmethod
    def of(cls, trials: Iterable[TrialConfig]) -> Carried:
        """Find them in configs that were checked already."""
        found = {
            (plugin.__module__, kind, name)
            for trial in trials
            for kind, name in _used(trial)
            if (plugin := registry.plugins(kind).get(name))
            and not plugin.__module__.startswith("swarmproof.")
        }
        return cls(tuple(sorted(found)))

    def require(self, *, main_is_run_again: bool) -> None:
        """Check that new processes can know them.

        Raises:
            ValueError: one is defined in a main module that new processes do not run.
        """
        for module, kind, name in self.plugins:
            if module == "__main__" and not main_is_run_again:
                raise ValueError(
                    f"the {kind} {name!r} is defined in a notebook, a session or a script, which "
                    f"the processes of the trials do not import: {_REMEDY}"
                )

    def load(self) -> None:
        """Make them known to this process.

        Raises:
            ValueError: one line: a module cannot be imported here, or it has no such plug-in.
        """
        for module, kind, name in self.plugins:
            if module != "__main__":
                try:
                    importlib.import_module(module)
                except ImportError as error:
                    raise ValueError(
                        f"the {kind} {name!r} is unknown to the processes of the trials, as they "
                        f"cannot import {module} ({error}): {_REMEDY}"
                    ) from None
            if name not in registry.plugins(kind):
                raise ValueError(
                    f"the {kind} {name!r} is unknown to the processes of the trials: {_REMEDY}"
                )

    def run(self, trial: Trial, *, resume: bool, on_round: OnRound) -> None:
        """`run_trial` for the engine `local`."""
        from swarmproof.swarm.trial import run_trial

        self.load()
        run_trial(trial, resume=resume, on_round=on_round)

    def play(self, trial: Trial, *, resume: bool) -> Iterator[tuple[RoundRecord, float]]:
        """`play_trial` for the engine `ray`."""
        from swarmproof.swarm.trial import play_trial

        self.load()
        return play_trial(trial, resume=resume)


def main_is_run_again() -> bool:
    """Whether a spawned process runs this process's main module before its own work.

    Raises:
        ValueError: it would try to and fail, as code from standard input is in no file.
    """
    prepared = spawn.get_preparation_data(_PROBE)
    path = prepared.get("init_main_from_path")
    if path is not None and not Path(path).is_file():
        raise ValueError(
            "the processes of the trials import the main script, and this one is not in a file: "
            "save it as one, or give jobs=0 to run the trials in this process"
        )
    return path is not None or "init_main_from_name" in prepared


def refuse_in_a_child_that_imports_main() -> None:
    """End this process if it is a spawned one that is still running its parent's script.

    Raises:
        SystemExit: in the process of `probe`, which its parent tells.
        UnguardedScriptError: in a process that something else has started.
    """
    current: Any = process.current_process()
    if getattr(current, "_inheriting", False):
        if current.name == _PROBE:
            raise SystemExit(_UNGUARDED)
        raise UnguardedScriptError


def probe(carried: Carried) -> None:
    """Start one process in the way in which trials are started, and see whether it gets to work.

    Raises:
        UnguardedScriptError: it would start a run of its own.
        ValueError: it does not know the plug-ins, or the main script fails in it.
    """
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=_look, args=(carried,), name=_PROBE, daemon=True)
    child.start()
    child.join()
    if child.exitcode == _UNGUARDED:
        raise UnguardedScriptError
    if child.exitcode == _UNKNOWN:
        carried_names = ", ".join(name for _, _, name in carried.plugins)
        raise ValueError(
            f"the plug-in {carried_names} is unknown to the processes of the trials, which import "
            'this script under another name than "__main__": define it outside of `if __name__ '
            f'== "__main__":`, or {_REMEDY}'
        )
    if child.exitcode != 0:
        raise ValueError(
            "this script cannot be imported by the processes of the trials (exit code "
            f"{child.exitcode}); see what they printed above, or give jobs=0"
        )


def _look(carried: Carried) -> None:
    try:
        carried.load()
    except ValueError:
        raise SystemExit(_UNKNOWN) from None


def _used(trial: TrialConfig) -> Iterator[tuple[registry.Kind, str]]:
    yield "task", trial.task["name"]
    yield "attack", trial.attack["name"]
    yield "exchange", trial.exchange["name"]
    yield "generator", trial.generator["name"]
    for table in trial.defenses:
        yield "defense", table["name"]
        judge = table.get("model")
        if isinstance(judge, dict) and "name" in judge:
            yield "judge", judge["name"]
