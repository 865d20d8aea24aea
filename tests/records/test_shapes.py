"""A damaged config or summary is told in one line, whatever is missing or of another type."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import swarmproof
from swarmproof.cli.files import runs
from swarmproof.records.folder import RunFolder
from swarmproof.records.run import load_run
from swarmproof.records.streams import read_timings

WRONG: tuple[Any, ...] = (None, True, 3, -1, 10**30, 0.5, "x", [], [[]], {}, {"x": 1})
MISSING = object()


@pytest.fixture(scope="module")
def two_models(
    random_model: Path, foreign_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run with everything that a summary may have."""
    folder = tmp_path_factory.mktemp("runs") / "two"
    settings = {
        "rounds": 1,
        "swarm.models": [str(random_model), str(foreign_model)],
        "batch": {"problems": 2, "group_size": 4},
        "sampling.max_new_tokens": 64,
        "evaluation.problems": 2,
    }
    swarmproof.run(arms="logit", set=settings, seeds=1, out=folder, jobs=0, quiet=True)
    return folder


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON table; of a list only of the first."""
    items = value.items() if isinstance(value, dict) else list(enumerate(value))[:1]
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def changed(table: Any, path: tuple[Any, ...], value: Any) -> Any:
    table = copy.deepcopy(table)
    at = table
    for key in path[:-1]:
        at = at[key]
    if value is MISSING:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return table


def damages(table: Any) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """Path, new value and damaged table: every value is missing once, and of four wrong types."""
    for number, path in enumerate(places(table)):
        turned = [WRONG[(number + 3 * i) % len(WRONG)] for i in range(4)]
        for value in (MISSING, *turned):
            yield path, value, changed(table, path, value)


def told(file: Path, table: Any) -> str:
    """What reading a run says of a damaged file; empty if it can be read and shown."""
    file.write_text(json.dumps(table))
    try:
        run = load_run(file.parent, with_completions=False)
        assert run.table().index.tolist() == list(run.config["arms"])
        assert repr(run).startswith("Run(")
        assert run.finished in (True, False)
    except ValueError as error:
        line = str(error)
        assert line.isprintable(), line
        assert len(line) < 1000
        assert str(file) in line
        assert "swarmproof report" in line or "put back a copy" in line
        return line
    return ""


@pytest.mark.parametrize("name", ["config.json", "summary.json"])
def test_whatever_is_damaged_is_one_line_with_file_and_remedy(
    two_models: Path, tmp_path: Path, name: str
) -> None:
    folder = shutil.copytree(two_models, tmp_path / "run")
    table = json.loads((folder / name).read_text())
    assert told(folder / name, table) == ""
    lines = {
        (path, repr(value)): told(folder / name, damaged) for path, value, damaged in damages(table)
    }
    assert len(lines) > 200
    refused = {path for (path, value), line in lines.items() if line and value == repr(MISSING)}
    if name == "config.json":
        trial = ("arms", "logit")
        assert refused >= {("name",), ("seeds",), ("arms",)}
        assert refused >= {(*trial, key) for key in ("rounds", "model", "swarm")}
    else:
        arm = table["arms"]["logit"]
        assert refused >= {(key,) for key in table}
        assert refused >= {("arms", "logit", key) for key in arm} - {("arms", "logit", "models")}


def test_a_damaged_config_stops_no_other_reader(
    two_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`report` and `runs`: an error in one line, or a line about the folder."""
    folder = shutil.copytree(two_models, tmp_path / "run")
    table = json.loads((folder / "config.json").read_text())
    for path, _, damaged in damages(table):
        if path[:2] == ("arms", "logit") and len(path) > 3:
            continue  # settings of an arm: tests/config
        (folder / "config.json").write_text(json.dumps(damaged))
        runs(tmp_path)
        with suppress(ValueError):
            RunFolder.open(folder)
    assert "no config of a run" in capsys.readouterr().out


def test_a_run_without_a_summary_yet_says_how_to_get_one(two_models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(two_models, tmp_path / "run")
    (folder / "summary.json").unlink()
    with pytest.raises(ValueError, match=r"has no summary\.json yet; `swarmproof report "):
        load_run(folder)


def test_a_run_goes_on_with_no_damaged_config(two_models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(two_models, tmp_path / "run")
    (folder / "config.json").write_text('{"arms": []}')
    with pytest.raises(ValueError, match=r"config\.json is damaged: .*; put back a copy"):
        swarmproof.run(arms="logit", out=folder, resume=True, jobs=0, quiet=True)


def test_steps_without_processor_time_are_told(two_models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(two_models, tmp_path / "run") / "trials/logit/seed-0"
    lines = (folder / "timings.jsonl").read_text().splitlines()
    row = json.loads(lines[1])
    del row["cpu"]["learn"]
    (folder / "timings.jsonl").write_text("\n".join([lines[0], json.dumps(row), *lines[2:], ""]))
    with pytest.raises(ValueError, match=r"timings\.jsonl is damaged in line 2"):
        read_timings(folder)
