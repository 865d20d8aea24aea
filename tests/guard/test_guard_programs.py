"""A guard for answers that are programs: what it must be told, and what a preset tells it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swarmproof import Group, Guard
from swarmproof.cli import catalogue
from swarmproof.config.presets import PRESETS
from swarmproof.integrations.configured import Seam, hook

BAD = "<code>\nimport evilmod\nprint(evilmod.x(3))\n</code>"
GOOD, WRONG = "<code>\nprint(7)\n</code>", "<code>\nprint(8)\n</code>"
SAYS = [False, True, True, None]  # the last one earns nothing, and so teaches nothing


def imports_says(guard: Guard) -> list[bool | None]:
    texts = [BAD, GOOD, GOOD, WRONG]
    group = Group.of("?", texts, token_ids=[(1, 2, 3)] * 4, senders=[*"abcd"])
    (row,) = guard([group], [[1.0, 1.0, 1.0, 0.0]]).verdicts
    return [v.accepted for verdicts in row for v in verdicts if v.defense == "imports"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"defenses": ["imports"], "programs": True},
        {"preset": "several-models-code"},
        {"preset": "several-models-code", "programs": True},
    ],
)
def test_a_right_program_with_a_foreign_import_is_refused(arguments: dict[str, Any]) -> None:
    """Two of these calls once checked no import at all."""
    assert imports_says(Guard(**arguments)) == SAYS


@pytest.mark.parametrize(
    "arguments",
    [{"defenses": ["imports"]}, {"preset": "several-models-code", "programs": False}],
)
def test_a_guard_that_would_check_no_program_is_an_error(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"'imports' reads programs only.*programs=True") as caught:
        Guard(**arguments)
    assert "\n" not in str(caught.value)


def test_a_file_is_told_so_too(tmp_path: Path) -> None:
    seam = Seam("a trainer", ("monitor", "drop"), "batch", "never", weighs=True)
    assert imports_says(hook(seam, "several-models-code").guard) == SAYS
    path = tmp_path / "guard.toml"
    path.write_text('[[defenses]]\nname = "imports"\n')
    with pytest.raises(ValueError, match="programs = true"):
        hook(seam, str(path))
    path.write_text('programs = true\n[[defenses]]\nname = "imports"\n')
    assert imports_says(hook(seam, str(path)).guard) == SAYS


def test_explain_says_which_presets_are_for_programs() -> None:
    says = {
        name: "that are programs; a guard" in "\n".join(catalogue.explain(name)) for name in PRESETS
    }
    assert [name for name, told in says.items() if told] == ["several-models-code"]
