"""`new` and `runs`: experiments of one's own, and what the run folders on the disk are.

Knows the files of an experiment and of a run; computes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from swarmproof import config
from swarmproof.config import quote
from swarmproof.config.comparing import Difference, differences

_CONFIG = "config.json"
_TAIL = 65_536  # bytes; a line of rounds.jsonl is shorter


def new(
    path: Annotated[Path, typer.Argument(metavar="FILE.toml", help="The file to write.")],
    from_: Annotated[
        str,
        typer.Option("--from", metavar="EXPERIMENT", help="The experiment to copy."),
    ] = "text-horizontal",
) -> None:
    """Copy an experiment, with its comments, into a new file to change."""
    source = config.find(from_)
    if path.suffix != ".toml":
        raise ValueError(f"{quote(str(path))} must end in .toml")
    text = source.read_text(encoding="utf-8")
    # A name in the file would name the copy's runs after the original.
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith("name = ")]
    head = (
        f"# A copy of {from_}. Run it: swarmproof run {path}\n"
        "# Every setting: swarmproof list settings; every attack: swarmproof list attacks\n\n"
    )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(head + "".join(lines))
    except FileExistsError:
        raise ValueError(f"{path} is there already; choose another name") from None
    print(f"{path}: run it with `swarmproof run {path}`")


def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="The folder to look through.")
    ] = Path("runs"),
) -> None:
    """Show what each run folder is: experiment, arms, seeds, rounds done, changed settings."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {quote(str(folder))}")
    found = list(_run_folders(folder))
    if not found:
        print(f"no run folders in {folder}")
    for path in found:
        print("\n".join(_described(path)))


def _run_folders(folder: Path) -> Iterator[Path]:
    for name, inner, files in os.walk(folder):
        inner.sort()
        if _CONFIG in files:
            inner.clear()  # nothing within a run folder is another one
            yield Path(name)


def _described(path: Path) -> Iterator[str]:
    """The lines about one run folder; a damaged one is told too, as the others are worth it."""
    from swarmproof.records.shapes import read_config

    yield f"{path}"
    try:
        found = read_config(path)
    except ValueError as error:
        yield f"  no config of a run: {_one_line(error)}"
        return
    arms, seeds, name = found["arms"], found["seeds"], found["name"]
    planned = {arm: trial["rounds"] for arm, trial in arms.items()}
    done = [
        (_rounds_done(path / "trials" / arm / f"seed-{seed}" / "rounds.jsonl"), rounds)
        for arm, rounds in planned.items()
        for seed in seeds
    ]
    finished = sum(rounds <= count for count, rounds in done)
    yield f"  {name}: {', '.join(arms)}; seeds {', '.join(map(str, seeds))}"
    yield (
        f"  {sum(min(*pair) for pair in done):,} of {sum(rounds for _, rounds in done):,} rounds, "
        f"{finished} of {len(done)} trials finished"
    )
    yield f"  {_changes(found)}"


def _rounds_done(path: Path) -> int:
    """How many rounds a stream has, from its last whole line."""
    import msgspec

    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL))
            lines = file.read().rpartition(b"\n")[0].splitlines()
        return int(msgspec.json.decode(lines[-1])["round"]) + 1 if lines else 0
    except FileNotFoundError:
        return 0
    except (msgspec.DecodeError, KeyError, TypeError):
        return 0  # damaged: `report` says how


def _changes(found: Mapping[str, Any]) -> str:
    """What a run changes of the shipped experiment that is most like it."""
    candidates = {}
    for name, path in config.shipped().items():
        if path.stem == found["name"]:
            shipped = config.load(name).model_dump(mode="json")
            if found["arms"].keys() <= shipped["arms"].keys():
                candidates[name] = _by_setting(found, shipped)
    if not candidates:
        return "no shipped experiment has this name and these arms"
    name = min(candidates, key=lambda name: len(candidates[name]))
    changed = candidates[name]
    if not changed:
        return f"as shipped: {name}"
    return f"{name} with {', '.join(changed)}"


def _by_setting(found: Mapping[str, Any], shipped: Mapping[str, Any]) -> list[str]:
    """`rounds=30` where all arms have it changed, `attack: rounds=30` where one has."""
    arms = {
        arm: [_assigned(change) for change in differences(shipped["arms"][arm], table)]
        for arm, table in found["arms"].items()
    }
    first = next(iter(arms.values()), [])
    common = [text for text in first if all(text in texts for texts in arms.values())]
    return common + [
        f"{arm}: {text}" for arm, texts in arms.items() for text in texts if text not in common
    ]


def _assigned(change: Difference) -> str:
    return f"{change.key}={change.new_text}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
