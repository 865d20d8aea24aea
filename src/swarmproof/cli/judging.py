"""`calibrate` and `judge-eval`: how good a defence is, without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swarmproof.cli.common import Settings, write
from swarmproof.config import load
from swarmproof.registry import did_you_mean


def calibrate(
    experiment: Annotated[
        str, typer.Argument(help="A shipped experiment, or a path that ends in .toml.")
    ],
    arm: Annotated[str, typer.Option(help="The arm whose defence is calibrated.")] = "judge",
    false_rejections: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Share of honest completions to refuse.")
    ] = 0.02,
    completions: Annotated[
        int, typer.Option(min=2, help="Right ones of honest nodes, both halves together.")
    ] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
    run_folder: Annotated[
        Path | None, typer.Option("--run", help="Take those that this run recorded.")
    ] = None,
    run_arm: Annotated[str, typer.Option(help="Of that run.")] = "no-attack",
    set_: Settings = None,
    out: Annotated[Path | None, typer.Option(help="Also write all scores to this JSON.")] = None,
) -> None:
    """Set a defence's threshold on honest completions; print the line of TOML to paste."""
    from swarmproof.measure import calibrate as calibration

    trial = load(experiment, arms=[arm], overrides=set_ or ()).arms[arm]
    found = calibration.calibrate(
        trial,
        arm,
        rate=false_rejections,
        completions=completions,
        seed=seed,
        run=run_folder,
        run_arm=run_arm,
    )
    if out is not None:
        write(out, found)
    tested = found["false_rejections"]
    low, high = (100 * end for end in tested["ci95"])
    print(f"# [arms.{arm}], threshold chosen on {found['chosen_on']} honest completions.")
    print(
        f"# On {tested['of']} others it refuses {tested['count']}: {100 * tested['rate']:.2f} % "
        f"(95 % interval {low:.2f} to {high:.2f})."
    )
    print(calibration.toml_line(found["defenses"]))


def judge_eval(
    completions: Annotated[int, typer.Option(help="Of each kind.")] = 400,
    problems: Annotated[int, typer.Option(help="Held-out problems that may be used.")] = 512,
    judgements: Annotated[int, typer.Option(help="Of each, where a word is drawn.")] = 4,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="scored, sampled, criticism-scored, …  [default: all four]"),
    ] = None,
    run_folder: Annotated[
        list[Path] | None,
        typer.Option("--run", help="Also judge what this run's trained nodes wrote (repeatable)."),
    ] = None,
    run_arm: Annotated[str, typer.Option(help="Of those runs.")] = "no-attack",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="judge.model.name=…, math.model.path=… (repeatable)."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the numbers to this JSON.")] = None,
) -> None:
    """Show what a judge accepts of poison, of injections and of honest work (paper, Table 1)."""
    from rich.console import Console

    from swarmproof.config import override, validate
    from swarmproof.measure import judge_eval as evaluation

    unknown = set(variant or ()) - set(evaluation.VARIANTS)
    if unknown:
        name = min(unknown)
        raise ValueError(f"--variant {name!r}{did_you_mean(name, evaluation.VARIANTS)}")
    given = {
        "completions": completions, "problems": problems, "judgements": judgements, "seed": seed
    }  # fmt: skip
    table = override(evaluation.JudgeEval().model_dump(), set_ or ()) | given
    config = validate(evaluation.JudgeEval, table)
    console = Console()
    with Console(stderr=True).status("drawing and poisoning completions") as status:
        found = evaluation.evaluate(
            config,
            variant or list(evaluation.VARIANTS),
            run_folder or (),
            run_arm,
            lambda family: status.update(f"judging {family}"),
        )
    if out is not None:
        write(out, found)
    console.print(evaluation.table(found))
