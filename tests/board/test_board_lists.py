"""The lists of a board: what ships is complete and valid, and a mistake is one line."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from board import boards
from swarmproof.board import cells, command, entry, lists
from swarmproof.board.cells import REFERENCE, BoardCell
from swarmproof.config import load, presets

ROOT = Path(__file__).parents[2]
SHIPPED = lists.read()
CELLS = cells.of_lists(SHIPPED)


def cell(setting: str, attack: str, guard: str) -> BoardCell:
    name = cells.CellName(setting, attack, guard)
    return next(each for each in CELLS if each.name == name)


def test_every_preset_is_a_guard_of_the_board() -> None:
    named = {guard.set.get("guard", {}).get("preset") for guard in SHIPPED.guards.values()}
    assert named - {None} == set(presets.PRESETS)


def test_only_a_guard_whose_defences_are_not_registered_has_a_reason_before_the_check() -> None:
    for each in CELLS:
        assert not each.reason or "is called" in each.reason, each
    assert all(not each.reason for each in CELLS if each.name.guard == "none")


@pytest.mark.parametrize(
    ("setting", "attack", "experiment"),
    [
        ("one-model", name, name)
        for name in (
            *("text-horizontal", "text-vertical", "text-every-sentence", "text-no-oracle"),
            *("length-horizontal", "length-vertical", "equation-vertical"),
            *("code-horizontal", "code-vertical"),
        )
    ]
    + [
        ("several-models", "text-horizontal", "heterogeneous-text"),
        ("several-models", "length-horizontal", "heterogeneous-length"),
        ("several-models", "equation-vertical", "heterogeneous-equation"),
        ("several-models", "code-horizontal", "heterogeneous-code"),
    ],
)
def test_the_paper_s_attacks_are_set_as_in_their_experiments(
    setting: str, attack: str, experiment: str
) -> None:
    trial = cell(setting, attack, "none").arms["attack"]
    shipped = load(experiment, arms=["attack"]).arms["attack"]
    assert trial.model_copy(update={"rounds": shipped.rounds}) == shipped


def test_a_reference_has_nobody_malicious_and_no_guard() -> None:
    for each in CELLS:
        if not each.reason:
            assert each.arms[REFERENCE].swarm.malicious == 0
            assert not each.arms[REFERENCE].defenses
            assert each.arm == REFERENCE or each.arms[each.arm] != each.arms[REFERENCE]


def test_a_guard_that_cannot_work_has_the_reason_of_the_check(
    random_model: Path, foreign_model: Path
) -> None:
    found = {
        (each.name.setting, each.name.guard): cells.checked(each).reason
        for each in cells.of_lists(boards.lists_of(boards.table(random_model, foreign_model)))
        if each.name.attack == "phrase"
    }
    assert found["one", "draws"] == ""
    assert "needs one model in all nodes" in found["several", "draws"]
    assert "no defense is called 'no_such_defence'" in found["one", "missing"]


def test_an_attack_that_is_not_registered_is_a_reason_and_a_misspelt_setting_an_error(
    random_model: Path, tmp_path: Path
) -> None:
    table = boards.table(random_model)
    table["attacks"]["phrase"]["set"]["attack"] = {"name": "no_such_attack"}
    found = cells.of_lists(boards.lists_of(table))
    reasons = {each.name.attack: each.reason for each in found if each.name.guard == "none"}
    assert "no_such_attack" in reasons["phrase"]
    assert reasons["long"] == ""
    table["attacks"]["phrase"]["set"] = {"attack": {"name": "text", "phrasee": "x"}}
    found = cells.of_lists(boards.lists_of(table))
    assert {each.name.attack for each in found if each.mistake} == {"phrase"}
    table["attacks"]["phrase"]["set"] = {"attack": "text"}
    (why,) = {e.reason for e in cells.of_lists(boards.lists_of(table)) if e.mistake}
    assert "attack" in why
    table["attacks"]["phrase"]["set"] = {"attack": {"name": "text", "phrasee": "x"}}
    # It is an error for who asks for that attack, and nobody else.
    lists_ = boards.lists_of(table)
    with pytest.raises(ValueError, match=r"'phrase' in one: .*phrasee"):
        boards.plan_of(lists_, tmp_path, guards="none")
    boards.plan_of(lists_, tmp_path, attacks="long", guards="none")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("attacks", "phrase", "task"), "lettres", "did you mean 'letters'"),
        (("attacks", "phrase", "kind"), "evil", "attacks.phrase.kind"),
        (("attacks", "phrase", "settings"), ["on"], "did you mean 'one'"),
        (("attacks", "phrase", "titel"), "x", "attacks.phrase.titel"),
        (("guards", "../x"), {"title": "x"}, "guards"),
        (("settings", "one", "recommended"), ["cutt"], "did you mean 'cut'"),
        (("settings", "one", "goals"), {"paper": {"asr": 2}}, "settings.one.goals.paper.asr"),
    ],
)
def test_a_mistake_in_the_lists_is_one_line(
    path: tuple[str, ...], value: object, words: str, random_model: Path
) -> None:
    table = boards.table(random_model)
    inner = table
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ValueError, match=r"^test: ") as caught:
        boards.lists_of(table)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_are_chosen_in_the_order_of_the_lists() -> None:
    known = {"a": 1, "b": 2, "c": 3}
    assert lists.chosen("guards", None, known) == ("a", "b", "c")
    assert lists.chosen("guards", "c, a", known) == ("a", "c")
    for wrong in ("d", "", "a,,d"):
        with pytest.raises(ValueError, match="--guards"):
            lists.chosen("guards", wrong, known)


def test_the_tables_of_the_page_are_rows_of_the_lists() -> None:
    page = (ROOT / "docs/board.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    table = tomllib.loads((ROOT / "src/swarmproof/board/tiny.toml").read_text(encoding="utf-8"))
    for kind, rows in tomllib.loads(block).items():
        assert not rows.keys() & table[kind].keys()
        table[kind] |= rows
    made = cells.of_lists(boards.lists_of(table))
    names = {(each.name.attack, each.name.guard) for each in made if not each.reason}
    assert {("text-end", "short"), ("text-end", "none"), ("text-vertical", "short")} <= names


def test_every_entry_of_the_repository_can_be_read() -> None:
    assert (ROOT / "board/entries/README.md").exists()
    for path in (ROOT / "board/entries").glob("*.json"):
        entry.read(path)


def test_settings_for_all_trials_leave_the_reference_alone() -> None:
    """With attackers or a guard in it, an attack would be compared with itself."""
    more = {each.name: each for each in cells.of_lists(SHIPPED, overrides=["swarm.malicious=2"])}
    for each in more.values():
        assert each.reason or each.arms[REFERENCE].swarm.malicious == 0
    attacked = more[cells.CellName("one-model", "text-horizontal", "none")]
    assert attacked.arms[attacked.arm].swarm.malicious == 2
    for setting in ("guard.preset=one-model", "defenses=[]", 'guard = { preset = "one-model" }'):
        with pytest.raises(ValueError, match="guards are the rows of the board"):
            cells.of_lists(SHIPPED, overrides=[setting])


@pytest.mark.parametrize("setting", ["attack.name=junk", "attack={name='length'}", " attack = {}"])
def test_a_setting_may_not_make_an_attack_another(setting: str) -> None:
    with pytest.raises(ValueError, match=r"attacks are the rows of the board.*--attacks"):
        cells.of_lists(SHIPPED, overrides=[setting])


def test_where_nobody_is_malicious_a_setting_makes_nobody_malicious() -> None:
    """Its row would hide the success of the attack: it says "nobody malicious"."""
    for each in cells.of_lists(SHIPPED, overrides=["swarm.malicious=2"]):
        if SHIPPED.attacks[each.name.attack].kind == "none" and not each.reason:
            assert {trial.swarm.malicious for trial in each.arms.values()} == {0}


@pytest.mark.parametrize("setting", ["swarm.malicious=two", "swarm.malicious=9"])
def test_a_wrong_number_of_malicious_nodes_is_a_mistake(setting: str, tmp_path: Path) -> None:
    """It was hidden by the reference, which has none: the page was written without any cell."""
    wanted = command.Wanted("text-horizontal", "none", "one-model")
    with pytest.raises(ValueError, match="malicious"):
        command.plan(SHIPPED, wanted, (0,), tmp_path, overrides=[setting])
