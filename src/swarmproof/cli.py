"""The command line. A wrong setting or a failing machine is one line and exit code 2.

Knows the order of a run's steps, none of their insides. torch, transformers, matplotlib and
pandas are imported within commands only, so that help and mistakes are told at once.
"""

from __future__ import annotations

import errno
import functools
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swarmproof import catalogue
from swarmproof.config import ExperimentConfig, load
from swarmproof.registry import did_you_mean

if TYPE_CHECKING:
    from swarmproof.engines.events import OnEvent
    from swarmproof.experiment import Trial
    from swarmproof.records import RunFolder

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # A bug shows Python's own traceback.
    pretty_exceptions_enable=False,
    help="Prove your swarm against malicious completions.",
)
zoo_app = typer.Typer(no_args_is_help=True, help="The tiny models that ship with the package.")
app.add_typer(zoo_app, name="zoo")

_INTERRUPTED = 130  # what shells use for Ctrl-C
# EFBIG: a limit on the size of files is a disk that is full for this process.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main() -> None:
    """The entry point: what a user or a machine did wrong is one line, a bug its traceback."""
    try:
        app()
    except (ValueError, OSError) as error:
        print(f"error: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        print(installed_version("swarmproof"))
        raise typer.Exit


@app.command()
def run(
    experiment: Annotated[
        str, typer.Argument(help="A shipped experiment, or a path that ends in .toml.")
    ] = "text-horizontal",
    arm: Annotated[
        list[str] | None, typer.Option(help="Run only this arm (repeatable).", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting (repeatable)."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="How many (3 is 0, 1, 2), or which: 0,1,5 (4, is 4 alone).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder.  [default: runs/EXPERIMENT-N]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an earlier run.")] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Trials at once.  [default: by the cores]")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Run an experiment: every arm with every seed, then the report."""
    config = load(experiment, arms=arm or (), overrides=set_ or (), seeds=_parse_seeds(seeds))
    _check(config)
    path = out or _default_folder(config, resume=resume)
    from swarmproof.records import RunFolder

    folder = RunFolder.create(path, config, resume=resume)
    try:
        print(f"{config.name} in {path}")
        _run_trials(folder, jobs=jobs, resume=resume, quiet=quiet)
        folder.write_summary()
    except KeyboardInterrupt:
        print(f"interrupted; go on with: {_resume_command(path)}", file=sys.stderr)
        raise typer.Exit(_INTERRUPTED) from None
    finally:
        folder.close()
    _report(path)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.")],
    export: Annotated[
        Path | None, typer.Option(help="Also write all numbers, config and versions to this JSON.")
    ] = None,
) -> None:
    """Draw the curves and the report of a run folder again, and show its table."""
    from swarmproof.records import RunFolder

    opened = RunFolder.open(folder)
    # Not there yet for a run that was killed; what it has so far is worth a report.
    opened.write_summary()
    if export is not None:
        opened.export(export)
    opened.close()
    _report(folder)


@app.command()
def reproduce(
    figure: Annotated[list[str], typer.Argument(help="all, or some of fig3a … fig16 and table1.")],
    scale: Annotated[
        str, typer.Option(metavar="[tiny|paper]", help="The zoo's models, or the paper's.")
    ] = "tiny",
    seeds: Annotated[
        str, typer.Option(help="How many (3 is 0, 1, 2), or which: 0,1,5 (4, is 4 alone).")
    ] = "1",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting of every trial."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder of all trials and figures.")] = Path(
        "runs/reproduce"
    ),
    from_: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="DIR", help="Take over this run's trials (repeatable)."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--restart",
            help="Unfinished trials go on, or start anew; finished ones are kept.",
        ),
    ] = True,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Trials at once.  [default: by the cores]")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, and tell what it would take.")
    ] = False,
    export: Annotated[
        Path | None, typer.Option(help="Also write DIR/SCALE/FIGURE.json.", metavar="DIR")
    ] = None,
) -> None:
    """Run what the paper's figures and table need, draw them, and check their criteria."""
    from rich.console import Console

    from swarmproof.reproduce import command, runner
    from swarmproof.reproduce.store import Store

    chosen = command.choose(figure, scale)
    plan = runner.plan(chosen, _parse_seeds(seeds) or (), set_ or ())
    if dry_run:
        print("\n".join(command.dry_run(plan)))
        return
    _check(plan.as_experiment())
    with Store(out) as store:
        for folder in from_ or ():
            print(f"{len(store.take(folder, plan.trials))} trials taken over from {folder}")
        trials = runner.missing(plan, store, resume=resume)
        print(f"{len(plan.trials)} trials, {len(trials)} of them to run, in {out}")
        keep = functools.partial(runner.keeper, plan, store)
        try:
            _run_all(trials, jobs=jobs, resume=resume, quiet=quiet, wrap=keep)
            found = command.finish(plan, store, export)
        except KeyboardInterrupt:
            again = shlex.join(["swarmproof", *sys.argv[1:]])
            print(f"interrupted; go on with: {again}", file=sys.stderr)
            raise typer.Exit(_INTERRUPTED) from None
    Console().print(command.table(plan.figures, found))
    print(f"figures: {out / scale}")


@app.command()
def theory(
    group_size: Annotated[
        list[int] | None,
        typer.Option(help="Completions of a problem (repeatable).  [default: 12 16 24 32]"),
    ] = None,
    accuracy: Annotated[
        float, typer.Option(help="Share of right answers among the honest ones, for the table.")
    ] = 0.0,
    variance: Annotated[
        float, typer.Option(help="Of normal honest rewards, for the picture.")
    ] = 0.25,
    out: Annotated[Path, typer.Option(help="The folder for the picture.")] = Path(),
) -> None:
    """Show what a share of poisoned completions is worth: a table, theory.png and theory.svg."""
    from rich.console import Console

    from swarmproof.report import theory

    sizes = group_size or theory.GROUP_SIZES
    shown = theory.table(sizes, accuracy)
    drawn = theory.draw(out, sizes, variance)
    Console().print(shown)
    print(f"figure: {', '.join(str(picture) for picture in drawn)}")


@app.command("list")
def list_(
    kind: Annotated[
        str | None, typer.Argument(metavar=f"[{'|'.join(catalogue.KINDS)}]", show_default=False)
    ] = None,
) -> None:
    """Show what there is to choose from, with parameters and defaults."""
    if kind is not None and kind not in catalogue.KINDS:
        raise ValueError(f"nothing is called {kind!r}{did_you_mean(kind, catalogue.KINDS)}")
    for each in [kind] if kind else catalogue.KINDS:
        print("\n".join(catalogue.describe(each)))


@app.command()
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
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting (repeatable)."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write all scores to this JSON.")] = None,
) -> None:
    """Set a defence's threshold on honest completions; print the line of TOML to paste."""
    from swarmproof import calibrate as calibration

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
        _write(out, found)
    tested = found["false_rejections"]
    low, high = (100 * end for end in tested["ci95"])
    print(f"# [arms.{arm}], threshold chosen on {found['chosen_on']} honest completions.")
    print(
        f"# On {tested['of']} others it refuses {tested['count']}: {100 * tested['rate']:.2f} % "
        f"(95 % interval {low:.2f} to {high:.2f})."
    )
    print(calibration.toml_line(found["defenses"]))


@app.command("judge-eval")
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

    from swarmproof import judge_eval as evaluation
    from swarmproof.config import override, validate

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
        _write(out, found)
    console.print(evaluation.table(found))


@zoo_app.command("list")
def zoo_list() -> None:
    """Show the models that ship with the package."""
    from swarmproof import zoo

    for name in zoo.names():
        print(f"{name}  {zoo.path(name)}")


@zoo_app.command("build")
def zoo_build(
    name: Annotated[str, typer.Argument(help="A model of the zoo.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Train a model of the zoo again, from its recipe."""
    from swarmproof import zoo

    zoo.build(name, out, seed=seed)


def _check(config: ExperimentConfig) -> None:
    from swarmproof.experiment import check
    from swarmproof.policies import hub

    for name, trial in config.arms.items():
        try:
            check(trial)
            for members in trial.cohorts:
                hub.reach(members.path, trial.models_key)
        except ValueError as error:
            raise ValueError(f"arm {name}: {error}") from None


def _run_trials(folder: RunFolder, *, jobs: int | None, resume: bool, quiet: bool) -> None:
    from swarmproof.experiment import Trial

    config = folder.config
    # Seed by seed, so that a run that is stopped early has compared whole sets of arms.
    trials = [
        Trial(config.name, arm, seed, trial, folder.trial_folder(arm, seed))
        for seed in config.seeds
        for arm, trial in config.arms.items()
    ]
    _run_all(trials, jobs=jobs, resume=resume, quiet=quiet)


def _run_all(
    trials: Sequence[Trial],
    *,
    jobs: int | None,
    resume: bool,
    quiet: bool,
    wrap: Callable[[OnEvent], OnEvent] = lambda on_event: on_event,
) -> None:
    """Run trials and show it; `wrap` puts something of its own around what shows an event."""
    from rich.console import Console

    from swarmproof.engines.local import default_jobs, run_trials
    from swarmproof.report.progress import Progress

    # Two trials rarely fit on one GPU.
    on_gpu = any(trial.config.model.device != "cpu" for trial in trials)
    jobs = jobs or (1 if on_gpu else default_jobs(len(trials)))
    with Progress(trials, jobs=jobs, console=Console(), quiet=quiet) as progress:
        run_trials(trials, jobs=jobs, resume=resume, on_event=wrap(progress.on_event))


def _report(path: Path) -> None:
    from rich.console import Console

    from swarmproof.records import load_run
    from swarmproof.report import curves, headline, html, table

    run = load_run(path)
    drawn = curves.draw(run, path)
    page = html.write(run, path)
    Console().print(table.summary_table(run.summary))
    print("\n".join(headline.headline(run.summary, run.config)))
    print(f"report: {page}")
    print(f"curves: {', '.join(str(picture) for picture in drawn)}")


def _write(path: Path, found: dict[str, Any]) -> None:
    from swarmproof.records import write_json
    from swarmproof.versions import versions

    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found | {"versions": versions()})


def _parse_seeds(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    if not re.fullmatch(r"\d+(,\d+)*,?", text) or text == "0":
        raise ValueError(
            f"--seeds {text!r}: give how many (3), or which, with commas (0,1,5 or 4,)"
        )
    if "," not in text:
        return tuple(range(int(text)))
    seeds = tuple(map(int, text.removesuffix(",").split(",")))
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds {text!r}: a seed is listed twice")
    return seeds


def _default_folder(config: ExperimentConfig, *, resume: bool) -> Path:
    """`runs/<experiment>-<n>`: the first free n, or the latest run when resuming."""
    stem = re.sub(r"[^\w.-]+", "-", config.name)
    numbers = {
        int(path.name.removeprefix(f"{stem}-"))
        for path in Path("runs").glob(f"{stem}-*")
        if path.name.removeprefix(f"{stem}-").isdecimal()
    }
    if not resume:
        return Path("runs") / f"{stem}-{max(numbers, default=0) + 1}"
    if not numbers:
        raise ValueError(f"runs/ holds no run of {config.name} to go on with; leave out --resume")
    return Path("runs") / f"{stem}-{max(numbers)}"


def _resume_command(path: Path) -> str:
    words = [word for word in sys.argv[1:] if word != "--resume"]
    if not any(word == "--out" or word.startswith("--out=") for word in words):
        words += ["--out", str(path)]
    return shlex.join(["swarmproof", *words, "--resume"])


def _one_line(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.errno in _FULL:
        where = f" while writing {error.filename}" if error.filename else ""
        return f"the disk is full{where}; free some space and run the same with --resume"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())
