"""The Python API as a notebook and a script meet it: real runs, real processes, one-line errors."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import swarmproof
from swarmproof.config import load
from swarmproof.records.folder import RunFolder
from swarmproof.records.streams import read_completions, read_rounds

SMALL: dict[str, Any] = {
    "rounds": 2,
    "batch": {"problems": 2, "group_size": 8},
    "sampling.max_new_tokens": 32,
    "evaluation.problems": 4,
    "task": {"train": 64, "test": 16},
}
STREAMS = ("rounds.jsonl", "completions.jsonl.gz")

PLUGIN = """
from swarmproof import registry
from swarmproof.attacks.text import Text

@registry.register("attack", "mine")
class Mine(Text):
    '''TEXT under another name.'''
"""
CALL = f"""
found = swarmproof.run("text-horizontal", arms="attack", quiet=True, out="out", jobs=JOBS,
                       set={SMALL!r} | {{"attack.name": "mine"}})
print(found)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> swarmproof.Run:
    folder = tmp_path_factory.mktemp("runs") / "here"
    return swarmproof.run(
        arms=["no-attack", "attack"], set=SMALL, seeds=[3], out=folder, jobs=0, quiet=True
    )


def python(*arguments: str | Path, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(cwd), *sys.path])},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
    )


def script(folder: Path, *parts: str) -> Path:
    path = folder / "script.py"
    path.write_text("import swarmproof\n" + "\n".join(parts))
    return path


def guarded(call: str) -> str:
    body = "\n".join(f"    {line}" for line in call.splitlines())
    return f'if __name__ == "__main__":\n{body}'


def test_the_import_is_light_and_fast(tmp_path: Path) -> None:
    code = (
        "import sys, time\nbegan = time.perf_counter()\nimport swarmproof\n"
        "seconds = time.perf_counter() - began\n"
        "heavy = ('torch', 'pandas', 'scipy', 'pydantic')\n"
        "print(seconds, [m for m in heavy if m in sys.modules])\n"
        "swarmproof.run, swarmproof.load_run, swarmproof.Run, swarmproof.__version__\n"
        "print([m for m in ('torch', 'pandas', 'scipy') if m in sys.modules])"
    )
    runs = [python("-c", code, cwd=tmp_path).stdout.split("\n")[:2] for _ in range(3)]
    assert min(float(first.split()[0]) for first, _ in runs) < 0.3
    for first, second in runs:
        assert first.endswith("[]")
        assert second == "[]"


def test_every_export_is_there_and_nothing_else() -> None:
    for name in swarmproof.__all__:
        assert getattr(swarmproof, name) is not None
        assert name in dir(swarmproof)
    with pytest.raises(AttributeError, match="'runn'"):
        swarmproof.runn  # noqa: B018


def test_a_run_says_what_it_is_in_one_line(finished: swarmproof.Run) -> None:
    assert repr(finished) == (
        "Run(text-horizontal, arms no-attack, attack, seeds 3, 2 rounds, finished, "
        f"in {finished.path})"
    )
    assert finished.finished


def test_the_table_has_the_final_values_of_the_summary(finished: swarmproof.Run) -> None:
    table = finished.table()
    assert list(table.index) == ["no-attack", "attack"]
    assert table.index.name == "arm"
    rows: dict[Any, Any] = table.to_dict("index")
    for arm, found in finished.summary["arms"].items():
        row = rows[arm]
        for name in ("asr", "accuracy", "length"):
            assert row[name] == found[name]["final"]
            # With one seed there is no interval.
            assert found[name]["ci95"] == [None, None]
            assert math.isnan(row[f"{name}_low"])
            assert math.isnan(row[f"{name}_high"])
        for who in ("poisoned", "honest"):
            assert row[who] == found["refused"][who]["of"]
        assert (row["rounds"], row["finished"], row["asr_unit"]) == (2, True, "share")
    assert rows["attack"]["poisoned"] > rows["no-attack"]["poisoned"] == 0
    # Plain columns: no level above, and every documented one.
    assert table.columns.nlevels == 1
    page = (Path(__file__).parent.parent / "docs" / "python.md").read_text(encoding="utf-8")
    for documented in (swarmproof.Run.table.__doc__ or "", page):
        for name in table.columns:
            stem = name.removesuffix("_low").removesuffix("_high")
            assert f"`{stem}`" in documented, name


def test_an_unfinished_run_says_so(finished: swarmproof.Run, tmp_path: Path) -> None:
    config = load("text-horizontal", arms=["no-attack", "attack"], overrides=SMALL, seeds=(3,))
    folder = RunFolder.create(tmp_path / "half", config, resume=False)
    (folder.path / "trials").mkdir()
    (folder.path / "trials" / "attack").symlink_to(finished.path / "trials" / "attack")
    folder.write_summary()
    folder.close()
    half = swarmproof.load_run(folder.path)
    assert "1 of 2 trials finished" in repr(half)
    assert not half.finished
    assert half.table()["finished"].to_dict() == {"no-attack": False, "attack": True}
    assert half.table()["asr"].isna().to_dict() == {"no-attack": True, "attack": False}


def test_in_this_process_the_bytes_are_the_same_and_torch_is_left_as_it_was(
    finished: swarmproof.Run, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    try:
        here = swarmproof.run(
            arms="attack", set=SMALL, seeds=[3], out=tmp_path / "here", jobs=0, quiet=True
        )
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        torch.set_num_threads(threads)
    child = swarmproof.run(
        arms="attack", set=SMALL, seeds=[3], out=tmp_path / "child", jobs=1, quiet=True
    )
    for name in STREAMS:
        bytes_here = (here.path / "trials/attack/seed-3" / name).read_bytes()
        assert bytes_here == (child.path / "trials/attack/seed-3" / name).read_bytes()
        assert bytes_here == (finished.path / "trials/attack/seed-3" / name).read_bytes()


def test_a_run_that_goes_on_with_more_rounds_is_the_longer_run(tmp_path: Path) -> None:
    def trained(name: str, rounds: int, resume: bool) -> Path:
        swarmproof.run(
            arms="attack", set=SMALL | {"rounds": rounds}, seeds=[3], out=tmp_path / name, jobs=0,
            resume=resume, quiet=True,
        )  # fmt: skip
        return tmp_path / name / "trials/attack/seed-3"

    whole = trained("whole", 4, False)
    assert swarmproof.load_run(tmp_path / "whole").finished
    trained("longer", 2, False)
    longer = trained("longer", 4, True)
    weights = [load_file(folder / "checkpoint.safetensors") for folder in (whole, longer)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    completions = [list(read_completions(folder)) for folder in (whole, longer)]
    assert completions[0] == completions[1]
    # The last round of the shorter run was evaluated as well.
    rounds = [read_rounds(folder) for folder in (whole, longer)]
    assert [record.heldout_accuracy is None for record in rounds[1]] == [False, False, True, False]
    assert rounds[0][2:] == rounds[1][2:]
    # One that was asked to go on and did not is not finished.
    longer_still = load(
        "text-horizontal", arms=["attack"], overrides=SMALL | {"rounds": 9}, seeds=(3,)
    )
    RunFolder.create(tmp_path / "longer", longer_still, resume=True).close()
    assert not swarmproof.load_run(tmp_path / "longer").finished


def test_a_run_is_printed_or_quiet_and_can_be_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = SMALL | {"checkpoint_every": 1}
    out = tmp_path / "out"
    first = swarmproof.run(arms="attack", set=settings, out=out, jobs=0)
    printed = capsys.readouterr().out
    assert printed.startswith(f"text-horizontal in {out}\n")
    assert "attack: iteration 2/2" in printed
    again = swarmproof.run(arms="attack", set=settings, out=out, jobs=0, resume=True, quiet=True)
    assert capsys.readouterr().out == ""
    assert again.summary == first.summary
    with pytest.raises(ValueError, match="already holds a run"):
        swarmproof.run(arms="attack", set=settings, out=out, jobs=0)


def test_seeds_are_how_many_or_which() -> None:
    from swarmproof.api import _seeds

    assert _seeds(None) is None
    assert _seeds(3) == (0, 1, 2)
    assert _seeds([5, 2]) == (5, 2)
    assert _seeds(list(torch.arange(2).numpy())) == (0, 1)
    for wrong in (0, -1, 10**10, True):
        with pytest.raises(ValueError, match="seeds"):
            _seeds(wrong)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"set": {"grpo.lrr": 1}}, "grpo.lrr: unknown setting; did you mean 'lr'"),
        ({"set": {"attack": {"phrases": "x"}}}, "attack.phrases.*did you mean 'phrase'"),
        ({"arms": "atack"}, "did you mean 'attack'"),
        ({"seeds": [1, 1]}, "listed twice"),
        ({"jobs": -1}, "jobs is -1"),
        ({"engine": "ray", "jobs": 0}, "engine ray, jobs"),
        ({"resume": True, "out": "nowhere"}, "no folder nowhere to resume"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=words) as caught:
        swarmproof.run(**{"jobs": 0, **arguments})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_script_without_a_guard_ends_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    count = 'with open("starts", "a") as file: file.write("x")'
    path = script(tmp_path, count, CALL.replace("JOBS", "None").replace('"mine"', '"text"'))
    began = time.monotonic()
    done = python(path, cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert 'put the call under `if __name__ == "__main__":`' in last
    assert done.stderr.count("Traceback") == 1, done.stderr
    assert (tmp_path / "starts").read_text() == "xx", "more than one process was tried"
    assert not (tmp_path / "out").exists()
    assert time.monotonic() - began < 60


def test_a_plug_in_of_a_script_is_known_to_its_trials(tmp_path: Path) -> None:
    done = python(script(tmp_path, PLUGIN, guarded(CALL.replace("JOBS", "1"))), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "finished, in out" in done.stdout


def test_a_plug_in_that_only_the_main_process_defines_is_refused(tmp_path: Path) -> None:
    done = python(script(tmp_path, guarded(PLUGIN + CALL.replace("JOBS", "1"))), cwd=tmp_path)
    assert "define it outside of `if __name__" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_plug_in_of_a_session_is_refused_or_runs_here(tmp_path: Path) -> None:
    """A notebook's `__main__` has no file, like that of `python -c`."""
    code = "import swarmproof\n" + PLUGIN + CALL
    done = python("-c", code.replace("JOBS", "1"), cwd=tmp_path)
    assert done.returncode == 1
    assert "the attack 'mine' is defined in a notebook" in done.stderr.splitlines()[-1]
    assert "jobs=0" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
    done = python("-c", code.replace("JOBS", "0"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "finished, in out" in done.stdout


def test_a_script_from_standard_input_is_refused(tmp_path: Path) -> None:
    code = "import swarmproof\n" + CALL.replace("JOBS", "1").replace('"mine"', '"text"')
    done = python("-", cwd=tmp_path, stdin=code)
    assert "this one is not in a file" in done.stderr.splitlines()[-1]
    assert done.stderr.count("Traceback") == 1
    assert not (tmp_path / "out").exists()


def test_a_plug_in_of_an_imported_module_is_known_to_the_trials_of_a_session(
    tmp_path: Path,
) -> None:
    (tmp_path / "plugin_of_mine.py").write_text(PLUGIN)
    code = "import swarmproof, plugin_of_mine\n" + CALL.replace("JOBS", "1")
    done = python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "finished, in out" in done.stdout
