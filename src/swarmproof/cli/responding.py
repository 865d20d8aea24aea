"""`best-response`: the strongest attack against a guard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swarmproof import steps
from swarmproof.cli.common import Jobs, Quiet, Settings, parse_seeds, write
from swarmproof.config import ExperimentConfig, load, quote
from swarmproof.config.presets import PRESETS, preset
from swarmproof.engines.place import choose

if TYPE_CHECKING:
    from rich.table import Table

    from swarmproof.measure.best_response import Response

_RESULT = "best-response.json"


def best_response(
    experiment: Annotated[
        str, typer.Argument(help="A shipped experiment, or a path that ends in .toml.")
    ],
    guard: Annotated[
        str | None,
        typer.Option(help=", ".join(PRESETS) + ".", show_default="the defences of the arm"),
    ] = None,
    arm: Annotated[str, typer.Option(help="The arm whose swarm and defences are used.")] = "attack",
    rounds: Annotated[int, typer.Option(min=1, max=100_000, help="Rounds of each run.")] = 12,
    best: Annotated[
        int, typer.Option(min=0, max=100, help="Attacks whose fields are searched.")
    ] = 2,
    set_: Settings = None,
    seeds: Annotated[
        str, typer.Option(help="How many (3 is 0, 1, 2), or which: 0,1,5 (4, is 4 alone).")
    ] = "1",
    out: Annotated[
        Path | None,
        typer.Option(help="The folder.", show_default="runs/best-response-EXPERIMENT-GUARD-N"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an earlier search.")] = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Find the strongest attack against a guard: all of them on short runs, then their fields."""
    from rich.console import Console

    from swarmproof.measure import best_response as search

    _require_one_place(set_ or (), guard)
    overrides: list[str] = [*(set_ or ()), f"rounds={rounds}"]
    if guard is not None:
        preset(guard)
        overrides += [f'guard.preset="{guard}"', "defenses=[]"]
    config = load(experiment, arms=[arm], overrides=overrides, seeds=parse_seeds(seeds))
    name = f"best-response-{config.name}-{guard or arm}"
    folder = out or steps.default_folder(config.model_copy(update={"name": name}), resume=resume)
    place = choose("local", None, jobs)

    def run(stage: ExperimentConfig) -> Mapping[str, Any]:
        plan = steps.RunPlan(stage, folder / stage.name.rpartition("-")[2], place, resume)
        steps.execute(plan, quiet=quiet)
        return search.summary_of(plan.folder, stage)

    found, excluded = search.find(config.arms[arm], run, name=name, seeds=config.seeds, best=best)
    write(
        folder / _RESULT,
        {
            "experiment": config.name,
            "guard": guard or arm,
            "rounds": rounds,
            "seeds": list(config.seeds),
            "responses": [search.as_row(each) for each in found],
            "excluded": excluded,
        },
    )
    Console().print(_table(found))
    print(f"{len(excluded)} attacks cannot be carried out here; the reasons are in the file")
    print(f"numbers: {folder / _RESULT}")


def _require_one_place(settings: Sequence[str], guard: str | None) -> None:
    """Raise ValueError if --set changes what an option of this command sets afterwards."""
    for setting in settings:
        key = setting.partition("=")[0].strip()
        table = key.partition(".")[0].strip()
        if table == "rounds":
            raise ValueError("--set rounds is replaced by the option --rounds; give that alone")
        if guard is not None and table in ("guard", "defenses"):
            raise ValueError(
                f"--set {quote(key)} is replaced by --guard {guard}; give one of the two"
            )


def _table(found: list[Response]) -> Table:
    from rich.table import Table

    from swarmproof.measure.best_response import label

    table = Table()
    table.add_column("attack", overflow="fold")
    for heading in ("success", "accuracy", "poisoned refused", "honest refused"):
        table.add_column(heading, justify="right")
    for each in found:
        table.add_row(
            label(each.attack),
            _success(each),
            _percent(each.accuracy),
            _percent(each.refused["poisoned"]["rate"]),
            _percent(each.refused["honest"]["rate"]),
        )
    return table


def _success(found: Response) -> str:
    if found.success is None:
        return "–"
    return _percent(found.success) if found.unit == "share" else f"{found.success:.2f} x"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
