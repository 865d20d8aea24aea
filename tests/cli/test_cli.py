"""The command as users meet it: real processes, exit codes, one line for every mistake.

A mistake that ends before anything starts is made in this process: to start one takes longer.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmproof import registry, steps, zoo
from swarmproof.cli import main
from swarmproof.cli.common import parse_seeds
from swarmproof.config import load, shipped
from swarmproof.steps import default_folder

# Nothing listens there: a run of a zoo model that asked the hub for anything would fail.
NO_HUB = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9"}

SMALL = [
    "--set=rounds=2",
    "--set=batch.problems=2",
    "--set=batch.group_size=8",
    "--set=sampling.max_new_tokens=64",
    "--set=evaluation.problems=4",
]


def swarmproof(
    *arguments: str | Path, cwd: Path, preexec: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "swarmproof", *map(str, arguments)],
        cwd=cwd,
        env=NO_HUB,
        capture_output=True,
        text=True,
        preexec_fn=preexec,
        timeout=300,
    )


def in_this_process(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The same entry point, with the same arguments, output and exit code."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["swarmproof", *map(str, arguments)])
        patch.chdir(cwd)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def assert_one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """It failed as a mistake, not as a bug, and says what is asked for."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith("\n")
    assert done.stderr[:-1].isprintable(), done.stderr
    assert len(done.stderr) < 1000
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "grpo.lrr=1"], ["grpo.lrr", "did you mean 'lr'"]),
        (["--set", "round=3"], ["round: unknown", "did you mean 'rounds'"]),
        (["--set", "swarm.nodes=0"], ["swarm.nodes", "greater than or equal to 1"]),
        (["--set", "grpo.lr=-1"], ["grpo.lr", "greater than 0", "got -1"]),
        (["--set", "swarm.malicious=4"], ["swarm.malicious", "at least one node must be honest"]),
        (["--set", "swarm.nodes=5"], ["nodes may be 1, 2, 3, 4, 6"]),
        (["--set", "grpo.lr"], ["key=value"]),
        (["--set", "attack.name=txet"], ["'txet'", "did you mean 'text'"]),
        (["--set", "attack.phrases=hello"], ["attack", "phrase"]),
        (["--set", "task.name=math_word"], ["did you mean 'math_words'"]),
        (["--arm", "atack"], ["did you mean 'attack'"]),
        (["text-horizontl"], ["did you mean 'text-horizontal'"]),
        (["no-such.toml"], ["no file no-such.toml"]),
        (["--seeds", "a"], ["--seeds 'a'"]),
        (["--seeds", "1,1"], ["listed twice"]),
        (["--set", "model.path=no/such/model"], ["no/such/model"]),
        (["--set", "swarm.models=['tiny-math', 'tiny-meth']"], ["swarm.models = 'tiny-meth'"]),
        (
            ["--set", "task.name=gsm8k", "--set", "task.path=no/such.jsonl"],
            ["no/such.jsonl"],
        ),
        (["--set", 'defenses=[{name="judge",thresold=1}]'], ["did you mean 'threshold'"]),
        (["--set", 'defenses=[{name="judge",prompt="mth"}]'], ["did you mean 'math'"]),
        (["--set", 'defenses=[{name="judge",prompt="no.txt"}]'], ["no.txt", "No such file"]),
        (["--set", 'defenses=[{name="judge",model={name="locl"}}]'], ["did you mean 'local'"]),
        (
            ["--set", 'defenses=[{name="judge",model={name="local",bems=3}}]'],
            ["defenses.0.model.bems", "did you mean 'beams'"],
        ),
        (
            ["--set", 'defenses=[{name="judge",model={name="local",path="no/such/judge"}}]'],
            ["judge path", "no/such/judge"],
        ),
        (["--resume"], ["leave out --resume"]),
        (["--resume", "--out=nowhere"], ["no folder nowhere to resume"]),
        (["--seeds=99999999999999999999"], ["--seeds '99999999999999999999'", "how many"]),
        (["--seeds=9999999999"], ["--seeds '9999999999'", "1 to 1000"]),
        (["--seeds=9999999999999999999,"], ["less than 2**63"]),
        (["--set", "sampling.temperature=1e-320"], ["temperature", "too close to 0"]),
        (["--set", "rounds=99999999999999999999"], ["rounds", "less than 2**63"]),
        (["x" * 5000], ["no experiment is called 'xxx"]),
        (["x" * 5000 + ".toml"], ["there is no file 'xxx"]),
        (["--arm", "a\x1b[2J"], [r"no arm 'a\x1b[2J'"]),
        (["--engine", "rya"], ["--engine 'rya'", "did you mean 'ray'"]),
        (["--address", "127.0.0.1:6379"], ["--engine ray"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value[0][0] == "-" else "",
)
def test_a_mistake_is_one_line_that_names_the_remedy(
    arguments: list[str], words: list[str], tmp_path: Path
) -> None:
    assert_one_line(in_this_process("run", *arguments, cwd=tmp_path), *words)
    assert not list(tmp_path.iterdir()), "nothing is written for a run that cannot start"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (
            ["run", "--set=swarm.models=['tiny-math', 'someone/model']"],
            "swarm.models = 'someone/model'",
        ),
        (["run", "--set=model.path=someone/model"], "someone/model"),
        (["reproduce", "fig3a", "--scale=paper", "--set=task={name='math_words'}"], "Qwen"),
    ],
)
def test_what_only_the_hub_has_is_one_line_without_it(
    arguments: list[str], word: str, tmp_path: Path
) -> None:
    done = swarmproof(*arguments, cwd=tmp_path)
    assert_one_line(done, word, "hub cannot be reached")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [["run", "--sed", "1"], ["frobnicate"], ["report"], ["run", "--jobs", "-1"]]
)
def test_a_misuse_of_the_command_line_exits_with_2(arguments: list[str], tmp_path: Path) -> None:
    done = in_this_process(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_broken_toml_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("rounds = 3\nname = \n")
    assert_one_line(in_this_process("run", "mine.toml", cwd=tmp_path), "mine.toml", "line 2")


def test_an_arm_that_names_no_folder_is_refused_before_the_folder_is_made(tmp_path: Path) -> None:
    text = Path(shipped()["text-horizontal"]).read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(f"{text}\n[arms.{'a' * 300}]\n")
    done = in_this_process("run", "mine.toml", "--arm", "a" * 300, cwd=tmp_path)
    assert_one_line(done, "an arm cannot be called 'aaa", "300 characters")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["calibrate", "text-horizontal", "--completions=99999999999999"],
        ["calibrate", "text-horizontal", "--seed=99999999999999999999"],
        ["calibrate", "text-horizontal", "--false-rejections=nan"],
        ["judge-eval", "--completions=99999999999999"],
        ["judge-eval", "--seed=99999999999999999999"],
        ["zoo", "build", "tiny-math", "--out=x", "--seed=99999999999999999999"],
        ["run", "--jobs=99999999999999999999"],
    ],
    ids=" ".join,
)
def test_an_absurd_number_exits_with_2_at_once(arguments: list[str], tmp_path: Path) -> None:
    done = in_this_process(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_unknown_kind_and_a_folder_without_a_run(tmp_path: Path) -> None:
    assert_one_line(in_this_process("list", "atacks", cwd=tmp_path), "did you mean 'attacks'")
    assert_one_line(in_this_process("report", tmp_path, cwd=tmp_path), "not a run folder")
    assert_one_line(in_this_process("report", tmp_path / "x", cwd=tmp_path), "is not there")
    assert_one_line(in_this_process("zoo", "build", "big", "--out=x", cwd=tmp_path), "tiny-math")
    assert_one_line(
        in_this_process("zoo", "add", "big", cwd=tmp_path), "known: smollm2-135m", "--from"
    )
    assert_one_line(
        in_this_process("zoo", "add", "a", "--from=x.gguf", cwd=tmp_path), "no file x.gguf"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["calibrate", "text-horizontal", "--arm=attack"],
            ["no defence with a threshold", "--arm"],
        ),
        (["calibrate", "text-horizontal", "--arm=lgit"], ["did you mean 'logit'"]),
        (["judge-eval", "--set=judge.thresold=1"], ["judge.thresold", "did you mean 'threshold'"]),
        (["judge-eval", "--set=math.model.pth=x"], ["math.model.pth", "did you mean 'path'"]),
        (["judge-eval", "--variant=score"], ["did you mean 'scored'"]),
        (["judge-eval", "--completions=0"], ["completions", "greater than or equal to 1"]),
        (["judge-eval", "--set=judge.model={name='local',path='x/y/z'}"], ["x/y/z"]),
    ],
)
def test_a_mistake_about_a_judge_is_one_line(
    arguments: list[str], words: list[str], tmp_path: Path
) -> None:
    assert_one_line(in_this_process(*arguments, cwd=tmp_path), *words)
    assert not list(tmp_path.iterdir())


def test_list_shows_every_plug_in_model_and_experiment(tmp_path: Path) -> None:
    text = swarmproof("list", cwd=tmp_path).stdout
    every = [plugin for kind in registry.KINDS for plugin in registry.plugins(kind).values()]
    # Other tests of this process may have registered plug-ins of their own.
    ours = [plugin for plugin in every if plugin.__module__.startswith("swarmproof.")]
    for name in [*(plugin.name for plugin in ours), *zoo.names(), *shipped()]:
        assert f"  {name}" in text
    for plugin in ours:
        for parameter in plugin.model_fields:
            assert f"      {parameter}" in text


def test_theory_shows_the_table_and_writes_the_figure(tmp_path: Path) -> None:
    options = ["--group-size=12", "--group-size=24", "--accuracy=0.5", "--out=a/b"]
    done = in_this_process("theory", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "7 of 12" in done.stdout
    assert "0.282" in done.stdout
    assert "figure: a/b/theory.png, a/b/theory.svg" in done.stdout
    assert {path.name for path in (tmp_path / "a/b").iterdir()} == {"theory.png", "theory.svg"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--group-size=1"], ["a group of 1", "2 to 256"]),
        (["--group-size=257"], ["a group of 257"]),
        (["--group-size=12", "--group-size=12"], ["different"]),
        (["--accuracy=1.5"], ["1.5", "from 0 to 1"]),
        (["--accuracy=nan"], ["from 0 to 1"]),
        (["--variance=0"], ["variance 0.0", "greater than 0"]),
        (["--out=file"], ["file", "exists"]),
        (["--out=file/folder"], ["file/folder", "Not a directory"]),
    ],
)
def test_theory_that_cannot_be_is_one_line(
    arguments: list[str], words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert_one_line(in_this_process("theory", *arguments, cwd=tmp_path), *words)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert_one_line(in_this_process("run", "--out", tmp_path, cwd=tmp_path), "not empty", "--out")
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == ["thesis.txt"]


@pytest.fixture
def held_folder(tmp_path: Path) -> Iterator[Path]:
    """A run folder that another process has open for writing."""
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from swarmproof.config import load\nfrom swarmproof.records.folder import RunFolder\n"
        "folder = RunFolder.create(Path('held'), load('text-horizontal'), resume=False)\n"
        "print('held', flush=True)\nsys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    yield tmp_path / "held"
    holder.communicate(timeout=30)


def test_a_folder_in_use_is_refused(held_folder: Path, tmp_path: Path) -> None:
    for more in ([], ["--resume"]):
        done = swarmproof("run", "--out", held_folder, *more, cwd=tmp_path)
        assert_one_line(done, "in use", "--out")


def test_a_run_ends_with_a_table_and_its_files(tmp_path: Path) -> None:
    done = swarmproof("run", "--arm=attack", "--arm=logit", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    folder = tmp_path / "runs" / "text-horizontal-1"
    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary["arms"]) == ["attack", "logit"]
    assert "attack: iteration 2/2" in done.stdout  # no terminal: plain lines
    assert "attack: The text attack by 1 of 4 nodes, no defence. Attack success" in done.stdout
    assert "logit: The text attack by 1 of 4 nodes, defended by logit. Attack" in done.stdout
    assert "Settings that differ from the shipped text-horizontal: rounds = 2" in done.stdout
    assert "runs/text-horizontal-1/report.html" in done.stdout
    (folder / "report.html").unlink()
    again = in_this_process("report", folder, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (folder / "report.html").stat().st_size > 0
    used = in_this_process("run", "--out", folder, "--arm=attack", *SMALL, cwd=tmp_path)
    assert_one_line(used, "already holds a run", "--resume")
    shutil.copytree(folder, tmp_path / "other")
    both = in_this_process("report", folder, "other", cwd=tmp_path)
    assert both.returncode == 0, both.stderr
    assert "other: logit: The text attack" in both.stdout
    assert (tmp_path / "report-text-horizontal-1+other" / "report.html").stat().st_size > 0
    export = in_this_process("report", folder, "other", "--export=x.json", cwd=tmp_path)
    assert_one_line(export, "--export writes the numbers of one run")


def limit_file_size() -> None:
    # A disk without space, for one process and without root: more than this in a file is EFBIG.
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, resource.RLIM_INFINITY))


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    command = ["run", "--arm=attack", "--quiet", "--out=out", *SMALL]
    full = swarmproof(*command, cwd=tmp_path, preexec=limit_file_size)
    assert_one_line(full, "the disk is full", "--resume")
    resumed = in_this_process(*command, "--resume", "--jobs=0", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert len(summary["arms"]["attack"]["asr"]["by_iteration"]) == 2


def test_ctrl_c_says_how_to_go_on_and_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "swarmproof", "run", "--arm=attack", "--out=out", *SMALL]
    process = subprocess.Popen(
        [*command, "--set=rounds=100000"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background job hands on an ignored Ctrl-C, in which state no program hears it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout
        while "iteration 10/" not in (line := process.stdout.readline()):
            assert line, "the run ended by itself"
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert errors.startswith("interrupted; continue with: swarmproof run --arm=attack --out=out")
    assert errors.endswith("--resume\n")
    assert errors.count("\n") == 1
    deadline = time.monotonic() + 10
    while _group_lives(process.pid):
        assert time.monotonic() < deadline, "a child is still there"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fig3x"], ["'fig3x'", "known: all, fig3a, fig3b", "table1"]),
        (["fig3a", "--scale=big"], ["'big'", "known: tiny, small, paper"]),
        (["fig10a"], ["no larger one", "--scale small and paper"]),
        (["fig3a", "--set=grpo.lrr=1"], ["grpo.lrr", "did you mean 'lr'"]),
        (["fig3a", "--seeds=0"], ["--seeds '0'"]),
        (["fig3a", "--engine=rya"], ["did you mean 'ray'"]),
        (["fig3a", "--address=127.0.0.1:6379"], ["--engine ray"]),
    ],
)
def test_a_mistake_about_a_figure_is_one_line(
    arguments: list[str], words: list[str], tmp_path: Path
) -> None:
    assert_one_line(in_this_process("reproduce", *arguments, cwd=tmp_path), *words)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_downloads_and_writes_nothing(tmp_path: Path) -> None:
    done = in_this_process("reproduce", "all", "--scale=paper", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fetches: model Qwen/Qwen2.5-1.5B, data openai/gsm8k" in done.stdout
    assert "GPU: up to " in done.stdout
    assert not list(tmp_path.iterdir())


def test_figures_are_stopped_and_gone_on_with_by_the_same_command(tmp_path: Path) -> None:
    small = [*SMALL, "--set=rounds=12", "--set=checkpoint_every=5"]
    # In one process: how trials at once are stopped is tested above.
    arguments = ["reproduce", "fig16", *small, "--jobs=0", "--out=out", "--export=results"]
    process = subprocess.Popen(
        [sys.executable, "-m", "swarmproof", *arguments, "--restart"],
        cwd=tmp_path,
        env=NO_HUB,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout
        while "iteration 10/" not in (line := process.stdout.readline()):
            assert line, "it ended by itself"
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert errors.startswith("interrupted; continue with: swarmproof reproduce fig16 ")
    assert "--restart" not in errors

    done = in_this_process(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "The logit check stops it." in done.stdout
    for name in ("fig16.png", "fig16.svg", "result.json", "trials/attack/seed-0/rounds.jsonl"):
        assert (tmp_path / "out/tiny/fig16" / name).exists()
    assert (tmp_path / "results/tiny/fig16.json").exists()


def test_a_warm_up_of_figures_that_is_stopped_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(steps, "warm_up", stopped)
    done = in_this_process("reproduce", "fig16", *SMALL, "--jobs=0", "--out=out", cwd=tmp_path)
    assert done.returncode == 130
    assert done.stderr.startswith("interrupted; continue with: swarmproof reproduce fig16 ")


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_seeds_are_a_number_or_a_list() -> None:
    assert parse_seeds(None) is None
    assert parse_seeds("3") == (0, 1, 2)
    assert parse_seeds("0,2,5") == (0, 2, 5)
    assert parse_seeds("4,") == (4,)
    for text in ("0", "-1", ",", "1,,", "x", "1,1", ""):
        with pytest.raises(ValueError, match="--seeds"):
            parse_seeds(text)


def test_runs_are_numbered_and_the_latest_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load("text-horizontal")
    assert default_folder(config, resume=False) == Path("runs/text-horizontal-1")
    for number in (1, 2, 10):
        Path(f"runs/text-horizontal-{number}").mkdir(parents=True)
    Path("runs/text-horizontal-old").mkdir()
    assert default_folder(config, resume=False) == Path("runs/text-horizontal-11")
    assert default_folder(config, resume=True) == Path("runs/text-horizontal-10")
