"""Builders of small boards: lists with a task that a random model solves, and trials run here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarmproof.board import command, runner
from swarmproof.board.command import BoardPlan, Wanted
from swarmproof.board.lists import BoardLists, checked
from swarmproof.engines import here
from swarmproof.engines.events import Event
from swarmproof.reproduce.store import Store
from swarmproof.swarm.trial import Trial
from swarms import Letters


def table(model: Path, other: Path | None = None) -> dict[str, Any]:
    """Three attacks, four guards and one setting, or two; two rounds of little work."""
    models = {"several": [str(model), str(other)]} if other else {}
    settings = {
        "one": {
            "title": "one model",
            "recommended": ["cut"],
            "set": {"letters": {"model": {"path": str(model)}}},
            "goals": {"paper": {"asr": 0.5, "honest_refused": 0.0}},
        },
        **{
            name: {"title": name, "set": {"letters": {"swarm": {"models": paths}}}}
            for name, paths in models.items()
        },
    }
    return {
        "rounds": 2,
        "base": {
            "swarm": {"nodes": 4, "malicious": 1},
            "batch": {"problems": 8, "group_size": 8},
            "sampling": {"max_new_tokens": 40},
            "grpo": {"lr": 1e-3},
            "evaluation": {"every": 2, "problems": 4},
            "checkpoint_every": 1,
        },
        "tasks": {"letters": {"task": {"name": Letters.name}}},
        "settings": settings,
        "attacks": {
            "quiet": {
                "title": "nobody",
                "kind": "none",
                "task": "letters",
                "set": {"swarm": {"malicious": 0}, "attack": {"name": "text"}},
            },
            "phrase": {
                "title": "a phrase",
                "kind": "paper",
                "task": "letters",
                "set": {"attack": {"name": "text", "phrase": "Hail"}},
                "seconds": {"one": 1.0},
            },
            "long": {
                "title": "length",
                "kind": "adaptive",
                "task": "letters",
                "set": {"attack": {"name": "length", "candidates": 4}},
            },
        },
        "guards": {
            "none": {"title": "no defence"},
            "cut": {
                "title": "a limit",
                "set": {"defenses": [{"name": "max_tokens", "limit": 20}]},
            },
            "draws": {
                "title": "replay",
                "set": {"defenses": [{"name": "replay", "on_reject": "refill"}]},
            },
            "missing": {"title": "not there", "set": {"defenses": [{"name": "no_such_defence"}]}},
        },
    }


def lists_of(of: dict[str, Any]) -> BoardLists:
    return checked(BoardLists, of, "test")


def plan_of(
    lists: BoardLists,
    root: Path,
    *,
    seeds: Sequence[int] = (0,),
    attacks: str | None = None,
    guards: str | None = None,
    settings: str | None = None,
    rounds: int | None = None,
) -> BoardPlan:
    return command.plan(lists, Wanted(attacks, guards, settings), seeds, root, rounds=rounds)


def run(plan: BoardPlan) -> list[Trial]:
    """Run what is missing, as the command does, and write the page; the trials that were run."""
    with Store(plan.root) as store:
        runner.refresh(plan.kept, store)
        trials = runner.begin(runner.needed(plan.planned, plan.root), store)
        shown: list[Event] = []
        keep = runner.keeper(plan.planned, store, shown.append, on_cell=lambda: command.write(plan))
        here.run_trials(trials, resume=True, on_event=keep)
        for planned in plan.planned:
            runner.finish(planned, store)
        command.write(plan)
    return trials
