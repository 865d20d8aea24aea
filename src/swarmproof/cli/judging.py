"""`calibrate` and `judge-eval`: measure a defence without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swarmproof.cli.common import MAX_SEED, Settings, write
from swarmproof.config import load
from swarmproof.registry import did_you_mean

_MAX_COMPLETIONS = 1_000_000

_Variants = Annotated[
    list[str] | None,
    typer.Option(
        help="scored, sampled, criticism-scored or criticism-sampled (repeatable).",
        show_default="all four",
    ),
]
_Runs = Annotated[
    list[Path] | None,
    typer.Option(
        "--run",
        help="Also judge what the trained nodes of this run wrote (repeatable).",
        show_default="none",
    ),
]
_JudgeSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="judge.model.name=…, math.model.path=… (repeatable).",
        show_default=False,
    ),
]
_FalseRejections = Annotated[
    float | None,
    typer.Option(
        min=1e-6,
        max=0.5,
        help="Also judge at the threshold that refuses this share of right solutions of the "
        "corpus of the zoo's judges.",
        show_default="the set threshold alone",
    ),
]
_Out = Annotated[
    Path | None,
    typer.Option(help="Also write the numbers to this JSON.", show_default="none"),
]


def calibrate(
    experiment: Annotated[
        str, typer.Argument(help="A shipped experiment, or a path that ends in .toml.")
    ],
    arm: Annotated[str, typer.Option(help="The arm whose defence is calibrated.")] = "judge",
    false_rejections: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Share of honest completions to refuse.")
    ] = 0.02,
    completions: Annotated[
        int,
        typer.Option(
            min=2,
            max=_MAX_COMPLETIONS,
            help="How many right completions of honest nodes; one half sets the threshold, the "
            "other tests it.",
        ),
    ] = 400,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the completions.")] = 0,
    run_folder: Annotated[
        Path | None,
        typer.Option(
            "--run", help="Use the completions of this run.", show_default="draw new ones"
        ),
    ] = None,
    run_arm: Annotated[str, typer.Option(help="The arm of that run.")] = "no-attack",
    set_: Settings = None,
    out: Annotated[
        Path | None, typer.Option(help="Also write all scores to this JSON.", show_default="none")
    ] = None,
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
        f"# Of {tested['of']} others it refuses {tested['count']}: {100 * tested['rate']:.2f} % "
        f"(95 % interval {low:.2f} to {high:.2f})."
    )
    print(calibration.toml_line(found["defenses"]))


def judge_eval(
    completions: Annotated[
        int, typer.Option(max=_MAX_COMPLETIONS, help="How many completions of each kind.")
    ] = 400,
    problems: Annotated[
        int, typer.Option(max=_MAX_COMPLETIONS, help="How many held-out problems may be used.")
    ] = 512,
    judgements: Annotated[
        int, typer.Option(max=1000, help="Judgements of a completion, where a word is drawn.")
    ] = 4,
    seed: Annotated[int, typer.Option(max=MAX_SEED, help="Seed of all draws.")] = 0,
    variant: _Variants = None,
    run_folder: _Runs = None,
    run_arm: Annotated[str, typer.Option(help="The arm of those runs.")] = "no-attack",
    false_rejections: _FalseRejections = None,
    set_: _JudgeSettings = None,
    out: _Out = None,
) -> None:
    """Show what a judge accepts of poison, of injections and of honest work (paper, Table 1)."""
    from rich.console import Console

    from swarmproof.config import override, validate
    from swarmproof.measure import judge_eval as evaluation
    from swarmproof.report.progress import telling

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
    part = out and out.with_name(f"{out.name}.part")
    with telling("drawing and poisoning completions") as tell:
        found = evaluation.evaluate(
            config,
            variant or list(evaluation.VARIANTS),
            run_folder or (),
            run_arm,
            tell,
            false_rejections,
            part,
        )
    if out is not None and part is not None:
        write(out, found)
        part.unlink(missing_ok=True)
    console.print(evaluation.table(found))
    if "calibration" in found:
        chosen = found["calibration"]
        print(
            f"calibrated: threshold {chosen['threshold']:g}, chosen on {chosen['chosen_on']} right "
            "solutions of the corpus"
        )
