"""`export`: the completions of a run as the rollout files of other trainers.

For tests of tools that read such files: a run has poisoned completions with a known sender. Knows
the layouts of TRL 1.16, verl 0.9 and verifiers 0.4; imports none of them.
"""

from __future__ import annotations

import importlib.util
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swarmproof.config import quote
from swarmproof.registry import did_you_mean

if TYPE_CHECKING:
    from swarmproof.config import TrialConfig
    from swarmproof.records.folder import RunFolder
    from swarmproof.types import Problem

# Ids are hashes of what they name, so that an export is the same bytes again.
_IDS = uuid.uuid5(uuid.NAMESPACE_URL, "swarmproof")


@dataclass(frozen=True, slots=True)
class _Trial:
    """What the rows of one trial need besides themselves."""

    experiment: str
    arm: str
    seed: int
    task: str
    problems: Mapping[str, Problem]
    prompts: Mapping[str, str]


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    format_: Annotated[
        str,
        typer.Option("--format", metavar="[trl|verl|verifiers]", help="Whose rollout files."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="A new or empty folder.", show_default="RUN-FORMAT"),
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(help="Export only this arm (repeatable).", show_default="all"),
    ] = None,
    cohort: Annotated[
        str | None,
        typer.Option(
            help="Whose advantages and verdicts, where several models train.",
            show_default="the first",
        ),
    ] = None,
) -> None:
    """Write the completions of a run as rollout files of TRL, verl or verifiers."""
    from swarmproof.records.folder import RunFolder

    if format_ not in FORMATS:
        raise ValueError(f"--format {quote(format_)}{did_you_mean(format_[:60], FORMATS)}")
    folder = RunFolder.open(run)
    folder.close()
    for name in arm or ():
        if name not in folder.config.arms:
            raise ValueError(f"--arm {quote(name)}{did_you_mean(name[:60], folder.config.arms)}")
    root = out or run.with_name(f"{run.resolve().name}-{format_}")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ValueError(f"{root} is not an empty folder; choose another with --out")
    count = 0
    for source, rows in _trials(folder, arm or list(folder.config.arms), cohort):
        FORMATS[format_](rows, source, root / source.arm / f"seed-{source.seed}")
        count += len(rows)
    if not count:
        raise ValueError(f"{run} has no completions yet")
    print(f"{count:,} completions in {root}")


def _trials(
    folder: RunFolder, arms: list[str], cohort: str | None
) -> Iterator[tuple[_Trial, list[dict[str, Any]]]]:
    """The trials that have completions, each with those that the cohort received."""
    from swarmproof.records.streams import read_completions

    config = folder.config
    for arm in arms:
        trial = config.arms[arm]
        wanted = _cohort(trial, cohort)
        task = _task(trial)
        problems = {problem.id: problem for problem in task.problems("train")}
        prompts = {name: task.prompt(problem) for name, problem in problems.items()}
        for seed in config.seeds:
            source = _Trial(config.name, arm, seed, trial.task["name"], problems, prompts)
            every = read_completions(folder.trial_folder(arm, seed))
            if rows := [row for row in every if row["cohort"] == wanted]:
                yield source, _known(rows, source)


def _cohort(trial: TrialConfig, wanted: str | None) -> str:
    names = [members.name for members in trial.cohorts]
    if wanted is None:
        return names[0]
    if wanted not in names:
        raise ValueError(f"--cohort {quote(wanted)}{did_you_mean(wanted[:60], names)}")
    return wanted


def _task(trial: TrialConfig) -> Any:
    from swarmproof.swarm import warmup

    return warmup.task_of(trial)


def _known(rows: list[dict[str, Any]], source: _Trial) -> list[dict[str, Any]]:
    """The rows, if the task still has their problems."""
    for row in rows:
        if row["problem_id"] not in source.problems:
            raise ValueError(
                f"the task has no problem {quote(row['problem_id'])} (arm {source.arm}); the data "
                "have changed since the run"
            )
    return rows


def _by_round(rows: Iterable[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["round"], []).append(row)
    return found


def _id(source: _Trial, *parts: object) -> str:
    name = "/".join(map(str, (source.experiment, source.arm, source.seed, *parts)))
    return uuid.uuid5(_IDS, name).hex


def _trl(rows: list[dict[str, Any]], source: _Trial, folder: Path) -> None:
    """`completions/completions_STEP.parquet` of `GRPOTrainer` with `log_completions`.

    The one reward function is called `reward`; sender and verdict are extra columns, as those of
    `log_extra`.
    """
    import pandas as pd

    if importlib.util.find_spec("pyarrow") is None:
        raise ValueError("--format trl writes Parquet: pip install pyarrow")
    (folder / "completions").mkdir(parents=True)
    for round, own in _by_round(rows).items():
        frame = pd.DataFrame(
            {
                "step": [round + 1] * len(own),
                "prompt": [source.prompts[row["problem_id"]] for row in own],
                "completion": [row["text"] for row in own],
                "reward": [row["reward"] for row in own],
                "swarmproof/node": [row["node"] for row in own],
                "swarmproof/poisoned": [row["poisoned"] for row in own],
                "swarmproof/refused": [row["refused"] for row in own],
                "advantage": [row["advantage"] for row in own],
            }
        )
        frame.to_parquet(folder / "completions" / f"completions_{round + 1:05d}.parquet")


def _verl(rows: list[dict[str, Any]], source: _Trial, folder: Path) -> None:
    """`STEP.jsonl` of `trainer.rollout_data_dir`, with the `uid` of the trainer v1."""
    folder.mkdir(parents=True)
    for round, own in _by_round(rows).items():
        _write(
            folder / f"{round + 1}.jsonl",
            (
                {
                    "input": source.prompts[row["problem_id"]],
                    "output": row["text"],
                    "gts": source.problems[row["problem_id"]].answer,
                    "score": row["reward"],
                    "step": round + 1,
                    "uid": f"{_id(source, round, row['problem_id'])}_0_{row['index']}",
                }
                for row in own
            ),
        )


def _verifiers(rows: list[dict[str, Any]], source: _Trial, folder: Path) -> None:
    """`rollouts/step_N/train/all/traces.jsonl`: one `Episode` with one trace a line.

    Token ids are left out, as a run folder does not have them.
    """
    for round, own in _by_round(rows).items():
        path = folder / "rollouts" / f"step_{round + 1}" / "train" / "all"
        path.mkdir(parents=True)
        _write(path / "traces.jsonl", (_episode(row, source) for row in own))


def _episode(row: Mapping[str, Any], source: _Trial) -> dict[str, Any]:
    problem = source.problems[row["problem_id"]]
    step, at = row["round"] + 1, (row["round"], problem.id, row["index"])
    prompt = source.prompts[problem.id]
    task = {
        "type": source.task,
        "key": problem.id,
        "data": {"id": problem.id, "prompt": prompt, "answer": problem.answer},
    }
    asked = {"message": {"role": "user", "content": prompt}, "sampled": False, "timestamp": 0.0}
    said = {"message": {"role": "assistant", "content": row["text"]}, "parent": 0, "sampled": True}
    trace = {
        "id": _id(source, "trace", *at),
        "task": task,
        "agent": {"name": f"node-{row['node']}", "trainable": True, "config": {}},
        "nodes": [asked, said | {"timestamp": 0.0}],
        "calls": [],
        "rewards": {"reward": {"score": row["reward"], "weight": 1.0}},
        "metrics": {"advantage": row["advantage"]},
        "info": {"swarmproof": {key: row[key] for key in ("node", "poisoned", "refused")}},
        "is_completed": True,
        "ok": True,
        "errors": [],
        "timing": {"start": 0.0},
    }
    return {
        "id": _id(source, "episode", *at),
        "env": {"id": "swarmproof", "name": f"{source.experiment}/{source.arm}"},
        "task": task,
        "group": {"id": _id(source, *at[:2])},
        "run": {
            "type": "train",
            "id": _id(source),
            "name": f"{source.experiment}/{source.arm}/seed-{source.seed}",
            "work": {"type": "train", "step": step, "policy": {"start": step - 1, "end": step - 1}},
        },
        "ok": True,
        "errors": [],
        "traces": [trace],
    }


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    lines: Iterator[str] = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(lines)


FORMATS: dict[str, Callable[[list[dict[str, Any]], _Trial, Path], None]] = {
    "trl": _trl,
    "verl": _verl,
    "verifiers": _verifiers,
}
