"""The guard of a trainer that imports its hooks by name: its file, and what a hook cannot do."""

from __future__ import annotations

import builtins
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from judging import Bad, Breaks, Credits, Weighs
from swarmproof import Guard
from swarmproof.integrations.configured import GuardFailedError, Hook, Seam, hook, read
from swarmproof.integrations.rows import TrainerRow
from swarmproof.integrations.sidecar import Sidecar
from trainers import guard_file, has_keys, sidecar

ONE = Seam("a trainer", ("monitor", "drop"), "completion", 'set on_reject = "drop"')
ALL = Seam("a trainer", ("monitor", "mask", "drop", "zero_reward"), "batch", "never", weighs=True)


def row(text: str, group: str = "g") -> TrainerRow:
    return TrainerRow(group, "What is 3 + 4?", text, 1.0, (1, 2))


def test_the_environment_names_a_preset_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARMPROOF_GUARD", "paper-any-model")
    assert [d.name for d in hook(ONE).guard.defenses] == ["judge"]
    monkeypatch.setenv("SWARMPROOF_GUARD", str(guard_file(tmp_path)))
    assert [d.name for d in hook(ONE).guard.defenses] == ["equations"]
    monkeypatch.delenv("SWARMPROOF_GUARD")
    with pytest.raises(ValueError, match=r"a trainer has no guard; set SWARMPROOF_GUARD"):
        hook(ONE)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("preset = 3", "preset"),
        ("colour = 1", "colour"),
        ("on_error = 'ignore'", "on_error"),
        ("[[", "is no TOML"),
        ("", "has no defences"),
        ("preset = 'nosuch'", "no preset is called 'nosuch'"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "guard.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=says) as caught:
        hook(ONE, str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot read the guard's file"):
        read(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("seam", "source", "says"),
    [
        (ONE, {"name": "equations", "mode": "refuse", "on_reject": "mask"}, "cannot do"),
        (ONE, {"name": "equations"}, 'set mode = "refuse"'),
        (ONE, {"name": "signature"}, "shows one at a time"),
        (ALL, {"name": "equations", "mode": "mask"}, 'set mode = "refuse"'),
        (ALL, {"name": "replay", "on_reject": "refill"}, "cannot do"),
    ],
)
def test_what_a_hook_cannot_do_is_refused_before_the_first_completion(
    seam: Seam, source: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        Hook(seam, Guard([source]))
    assert "\n" not in str(caught.value)


def test_a_guard_from_a_file_has_no_weights_of_the_trainer(tmp_path: Path) -> None:
    path = tmp_path / "guard.toml"
    path.write_text('[[defenses]]\nname = "logit"\non_reject = "drop"\n')
    with pytest.raises(ValueError, match="needs the trainer's current weights"):
        hook(ALL, str(path))


@pytest.mark.parametrize(
    ("defense", "says"),
    [
        (Credits(start="3"), "credit of single tokens"),
        (Weighs(by_text={"3 + 4 = 7": 0.5}), "cannot weigh a completion"),
    ],
)
def test_what_a_third_partys_defence_asks_for_is_done_or_refused(defense: Bad, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Hook(ONE, Guard([defense])).look([row("3 + 4 = 7")])


def test_a_guard_that_fails_stops_the_run_unless_told_otherwise() -> None:
    with pytest.raises(ZeroDivisionError):
        Hook(ONE, Guard([Breaks()])).look([row("a")])
    with pytest.raises(GuardFailedError, match="the run stops: ZeroDivisionError: of 1 characters"):
        Hook(ONE, Guard([Breaks()]), swallowed=True).look([row("a")])
    seen = Hook(ONE, Guard([Breaks()]), on_error="monitor", swallowed=True).look([row("a")])
    assert seen.failed
    assert seen.treatments[0].votes


def test_the_failure_is_no_exception_that_a_trainer_logs_and_forgets() -> None:
    assert not issubclass(GuardFailedError, Exception)


def test_the_sidecar_has_the_trainers_own_ids_and_groups(tmp_path: Path) -> None:
    inspector = Hook(ONE, Guard([Bad()]), Sidecar(tmp_path / "guard.jsonl"))
    inspector.look([row("BAD", "p"), row("fine", "q")], ["t1", "t2"], 7, ["p", "q"])
    lines = sidecar(tmp_path)
    assert has_keys(lines)
    assert [(x["id"], x["group"], x["step"], x["guard/refused"]) for x in lines] == [
        ("t1", "p", 7, True),
        ("t2", "q", 7, False),
    ]


def test_a_failure_to_register_in_verl_is_not_silent(tmp_path: Path) -> None:
    """verl itself logs the failure of a plug-in at debug level. This verl has no reward loop."""
    (tmp_path / "verl").mkdir()
    (tmp_path / "verl" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", "import swarmproof.integrations.verl"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "swarmproof: the guard is NOT registered in verl: No module named" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("trainer", ["verifiers", "verl", "openrlhf", "genrl"])
def test_an_adapter_without_its_trainer_says_what_to_install(
    trainer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def none(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == trainer:
            raise ModuleNotFoundError(f"No module named {trainer!r}", name=trainer)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", none)
    here = f"swarmproof.integrations.{trainer}"
    for name in [name for name in sys.modules if name == here or name.startswith(f"{here}.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"needs the package .*; pip install") as caught:
        importlib.import_module(here)
    assert "\n" not in str(caught.value)
