"""An entry is hostile input: it is checked before anything runs. What it claims is run again."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import swarmproof
from swarmproof import registry, zoo
from swarmproof.attacks import Attack
from swarmproof.board import bounds, checking, entry
from swarmproof.config import TrialConfig, load, validate
from swarmproof.engines import here
from swarmproof.records.folder import write_json

SMALL = {
    "rounds": 2,
    "batch": {"problems": 4, "group_size": 4},
    "sampling.max_new_tokens": 48,
    "evaluation.problems": 4,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("entry") / "run"
    swarmproof.run(
        arms=["attack", "logit"], set=SMALL, seeds=2, out=folder, jobs=0, quiet=True
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def packed(run: Path) -> dict[str, Any]:
    return entry.pack(run)


def changed(table: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    made: Any = copy.deepcopy(table)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    found: dict[str, Any] = made
    return found


@pytest.fixture(scope="module")
def again(packed: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where seed 1 was run again."""
    folder = tmp_path_factory.mktemp("again")
    trials = checking.trials(entry.parse(packed, "entry"), 1, folder)
    here.run_trials(trials, resume=False, on_event=lambda _: None)
    return folder


def compare(table: dict[str, Any], again: Path) -> checking.Checked:
    found = entry.parse(table, "entry")
    return checking.compare(found, checking.trials(found, 1, again))


def test_an_entry_names_no_path_of_this_machine(packed: dict[str, Any], run: Path) -> None:
    text = json.dumps(packed)
    assert str(run) not in text


def test_the_same_bytes_are_reproduced(packed: dict[str, Any], again: Path) -> None:
    assert compare(packed, again) == checking.Checked("reproduced", ())
    # Whatever machine the entry says it is from.
    other = changed(packed, ("versions", "processor"), "Z80")
    assert compare(other, again).word == "reproduced"


def without_hash(packed: dict[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(packed)
    for trial in made["trials"]:
        trial["sha256"]["rounds.jsonl"] = "0" * 64
    return made


def test_other_bytes_agree_within_the_interval_for_one_more_seed(
    packed: dict[str, Any], again: Path
) -> None:
    wide = without_hash(packed)
    for trial in wide["trials"]:
        for key, values in {"asr": (0.0, 1.0), "accuracy": (0.0, 1.0), "length": (1, 90)}.items():
            trial["numbers"][key] = float(values[trial["seed"]])
    found = compare(wide, again)
    assert found.word == "agrees"
    assert any("other bytes in rounds.jsonl" in reason for reason in found.reasons)

    narrow = copy.deepcopy(wide)
    for trial in narrow["trials"]:
        trial["numbers"]["length"] = 90.0 + trial["seed"] / 100
    claimed = compare(narrow, again)
    assert claimed.word == "claimed"
    assert any("length is" in reason and "outside" in reason for reason in claimed.reasons)


def test_right_hashes_do_not_carry_wrong_numbers(packed: dict[str, Any], again: Path) -> None:
    at = next(i for i, trial in enumerate(packed["trials"]) if trial["seed"] == 1)
    lied = compare(changed(packed, ("trials", at, "numbers", "accuracy"), 1.0), again)
    assert lied.word != "reproduced"
    assert any("the entry says 1" in reason for reason in lied.reasons)
    counts = {"refused": 0, "of": 10**6}
    lied = compare(changed(packed, ("trials", at, "numbers", "honest"), counts), again)
    assert lied.word != "reproduced"


def test_one_seed_has_no_interval(packed: dict[str, Any], again: Path) -> None:
    one = without_hash(packed)
    one["experiment"]["seeds"] = [1]
    one["trials"] = [trial for trial in one["trials"] if trial["seed"] == 1]
    found = compare(one, again)
    assert found.word == "claimed"
    assert any("needs two seeds" in reason for reason in found.reasons)


def test_other_versions_are_named(packed: dict[str, Any], again: Path) -> None:
    other = changed(without_hash(packed), ("versions", "processor"), "Z80")
    assert any("Z80" in why for why in compare(other, again).reasons)


def test_a_prediction_interval_is_student_s() -> None:
    # Two degrees of freedom: 4.3027 x 1 x sqrt(1 + 1/3).
    ends = checking.prediction_interval([1.0, 2.0, 3.0])
    assert ends == pytest.approx((2 - 4.9683, 2 + 4.9683), abs=1e-3)
    assert checking.prediction_interval([1.0]) is None


def test_an_unfinished_run_is_no_entry(tmp_path: Path) -> None:
    swarmproof.run(arms=["logit"], set=SMALL, out=tmp_path / "run", jobs=0, quiet=True)
    rounds = tmp_path / "run/trials/logit/seed-0/rounds.jsonl"
    rounds.write_bytes(b"".join(rounds.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match="1 of 2 rounds; finish the run"):
        entry.pack(tmp_path / "run")


ARM = ("experiment", "arms", "logit")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("schema",), 2, "schema"),
        (("extra",), 1, "extra"),
        (("experiment", "name"), "../../x", "experiment.name"),
        (("experiment", "name"), "..", "may not name a file"),
        (("experiment", "arms", "../../etc"), {}, "experiment.arms"),
        (("experiment", "seeds"), list(range(1000)), "experiment.seeds"),
        (("experiment", "seeds"), [0], "give one for each arm and seed"),
        (("trials", 0, "arm"), "/etc/passwd", "trials.0.arm"),
        (("trials", 0, "seed"), 7, "give one for each arm and seed"),
        (("trials", 0, "seed"), 2**80, "trials.0.seed"),
        (("trials", 0, "sha256", "../../x"), "0" * 64, "trials.0.sha256"),
        (("trials", 0, "sha256"), {}, "hashes of"),
        (("trials", 0, "sha256", "rounds.jsonl"), "0" * 63, "sha256"),
        (("trials", 0, "numbers", "asr"), "1e999", "numbers.asr"),
        (("trials", 0, "numbers", "length"), 1e200, "numbers.length"),
        (("trials", 0, "numbers", "asr"), 1.7e308, "numbers.asr"),
        (("versions", "torch"), "\x1b[2J", "cannot be shown"),
        (("versions", "torch"), "x" * 501, "too long"),
        ((*ARM, "model", "path"), "/etc", "models of the zoo only"),
        ((*ARM, "model", "path"), "evil/model", "models of the zoo only"),
        ((*ARM, "swarm", "models"), ["tiny-math", "evil/model"], "models of the zoo only"),
        ((*ARM, "model", "device"), "cuda", "an entry has 'cpu'"),
        ((*ARM, "warmup"), {"steps": 200_000, "batch": 64, "problems": 7000}, "has no warm-up"),
        ((*ARM, "generator"), {"name": "vllm"}, "the generator 'packed' only"),
        (
            (*ARM, "attack"),
            {"name": "text_variants", "best_of": 8, "judge": {"name": "openai"}},
            "asks no server",
        ),
        (
            (*ARM, "attack"),
            {
                "name": "mixed",
                "parts": [{"name": "text_variants", "best_of": 8, "judge": {"name": "openai"}}],
            },
            "asks no server",
        ),
        (
            (*ARM, "attack"),
            {
                "name": "text_variants",
                "best_of": 8,
                "judge": {"name": "local", "path": "tiny-judge", "device": "cuda"},
            },
            "an entry has 'cpu'",
        ),
        ((*ARM, "task"), {"name": "gsm8k"}, "downloads data"),
        ((*ARM, "task"), {"name": "gsm8k", "path": "x.jsonl"}, "models of the zoo only"),
        ((*ARM, "task"), {"name": "nope"}, "no task is called 'nope'"),
        ((*ARM, "exchange"), {"name": "folder", "path": "/tmp"}, "models of the zoo only"),
        ((*ARM, "attack"), {"name": "nope"}, "no attack is called 'nope'"),
        ((*ARM, "attack"), {"name": "text", "phrasee": "x"}, "phrasee"),
        ((*ARM, "defenses"), [{"name": "nope"}], "no defense is called 'nope'"),
        (
            (*ARM, "defenses"),
            [{"name": "judge", "model": {"name": "openai", "base_url": "http://127.0.0.1:9"}}],
            "may not name a file or an address",
        ),
        ((*ARM, "defenses"), [{"name": "judge", "model": {"name": "openai"}}], "asks no server"),
        ((*ARM, "defenses"), [{"name": "judge", "prompt": "secret.txt"}], "may not name a file"),
        ((*ARM, "defenses"), [{"name": "judge", "prompt": "~/x"}], "may not name a file"),
        ((*ARM, "rounds"), 1001, "rounds: 1,001"),
        ((*ARM, "attack"), {"name": "length", "candidates": 1024}, None),
        ((*ARM, "evaluation", "problems"), 2**30, "all tokens of the arm"),
        (
            (*ARM, "defenses"),
            [{"name": "judge", "model": {"name": "local", "device": "cuda"}}],
            "an entry has 'cpu'",
        ),
        ((*ARM, "batch", "group_size"), 65_536, "the tokens of a round"),
        ((*ARM, "swarm", "nodes"), 4096, "nodes"),
        ((*ARM, "grpo", "updates"), 1024, None),
    ],
)
def test_a_hostile_entry_is_one_line_and_nothing_runs(
    packed: dict[str, Any],
    path: tuple[str | int, ...],
    value: Any,
    words: str | None,
    tmp_path: Path,
) -> None:
    file = tmp_path / "entry.json"
    write_json(file, changed(packed, path, value))
    if words is None:  # within the bounds
        entry.read(file)
        return
    with pytest.raises(ValueError, match=r"entry\.json") as caught:
        entry.read(file)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_what_judges_write_is_bounded(packed: dict[str, Any]) -> None:
    judge = {"name": "judge", "criticism": True, "max_criticism_tokens": 16_384,
             "model": {"name": "local", "path": "tiny-judge", "beams": 16}}  # fmt: skip
    table = changed(packed, (*ARM, "defenses"), [judge])
    entry.parse(table, "entry")  # two rounds
    with pytest.raises(ValueError, match="all tokens of the arm"):
        entry.parse(changed(table, (*ARM, "rounds"), 1000), "entry")


def test_what_judges_read_is_bounded(packed: dict[str, Any]) -> None:
    batch = changed(packed, (*ARM, "batch"), {"problems": 2, "group_size": 1024})
    both = {"name": "group_judge", "shown": 100_000}
    with pytest.raises(ValueError, match="the tokens that a judge reads at once: 49,200"):
        entry.parse(changed(batch, (*ARM, "defenses"), [both]), "entry")
    one = changed(batch, (*ARM, "defenses"), [{"name": "judge"}, {"name": "self_judge"}])
    entry.parse(one, "entry")  # two rounds
    with pytest.raises(ValueError, match="all tokens of the arm"):
        entry.parse(changed(one, (*ARM, "rounds"), 240), "entry")
    many = {"name": "text_variants", "best_of": 64, "judge": {"name": "local"}}
    with pytest.raises(ValueError, match="all tokens of the arm"):
        entry.parse(changed(changed(batch, (*ARM, "attack"), many), (*ARM, "rounds"), 12), "entry")


@pytest.mark.parametrize(
    ("attack", "most"),
    [
        # Draws count also where solutions are too few for the slots of a group.
        ({"name": "text", "candidates": 1024}, 1024 * 2),
        ({"name": "length", "candidates": 7}, 7 * 2),
        # 8 draws are read, 3 are made, and 5 spellings kept at 6 places, for each of 4 lengths.
        (
            {"name": "text_in_support", "candidates": 3, "phrase": "Hi", "beam": 5},
            (8 + 3 + 120) * 2,
        ),
        ({"name": "length_replay", "how": "withhold"}, 9 * 2),
        ({"name": "length_replay", "how": "late"}, 0),
        ({"name": "length_replay", "how": "near_ties", "alternatives": 8}, 9 * 9 * 2),
        ({"name": "mixed", "parts": [{"name": "text", "candidates": 8}] * 2}, 16 * 2),
        ({"name": "mixed", "parts": [{"name": "text", "candidates": 8}], "share": 0.5}, 17 * 2),
    ],
    ids=str,
)
def test_what_an_attack_samples_is_counted_at_its_most(attack: dict[str, Any], most: int) -> None:
    shipped = load("text-horizontal").arms["attack"].model_dump(mode="json")
    table = shipped | {"batch": {"problems": 2, "group_size": 12}, "attack": attack}
    table["swarm"] |= {"nodes": 4, "malicious": 3}  # 9 slots of each group
    trial = validate(TrialConfig, table)
    assert bounds._drawn(trial, registry.build(Attack, attack)) == most
    table["swarm"] |= {"malicious": 0}
    assert bounds._drawn(validate(TrialConfig, table), registry.build(Attack, attack)) == 0


@pytest.mark.parametrize(
    ("key", "table"),
    [
        ("defenses", [{"name": "judge", "criticism": True, "max_criticism_tokens": "300"}]),
        ("defenses", [{"name": "token_credit", "span": "1"}]),
        ("attack", {"name": "text_variants", "best_of": "8"}),
        ("attack", {"name": "mixed", "parts": [{"name": "text_variants", "best_of": "8"}]}),
    ],
    ids=str,
)
def test_a_number_that_is_written_as_a_text_is_counted(
    key: str, table: Any, packed: dict[str, Any]
) -> None:
    """It ended in a traceback, and in the exit code of `claimed`."""
    made = changed(packed, (*ARM, key), table)
    entry.parse(made, "entry")
    with pytest.raises(ValueError, match="entry has at most"):
        entry.parse(changed(changed(made, (*ARM, "rounds"), 1000), (*ARM, "batch"),
                            {"problems": 16, "group_size": 192}), "entry")  # fmt: skip


@pytest.mark.parametrize("depth", [20, 200, 2000])
def test_attacks_within_attacks_are_one_line(packed: dict[str, Any], depth: int) -> None:
    """They once ended in a traceback and the exit code of `claimed`."""
    attack: dict[str, Any] = {"name": "text"}
    for _ in range(depth):
        attack = {"name": "mixed", "parts": [attack]}
    made = json.loads(json.dumps(packed)) if depth < 300 else copy.copy(packed)
    made["experiment"] = {**packed["experiment"], "arms": {"logit": {"attack": attack}}}
    with pytest.raises(ValueError, match=r"entry: .*nested in more than 32 levels"):
        entry.parse(made, "entry")
    with pytest.raises(ValueError, match="nested in more than 32 levels"):
        validate(TrialConfig, {"attack": attack})


def test_rows_for_each_token_are_counted() -> None:
    shipped = load("text-horizontal").arms["attack"].model_dump(mode="json")
    credit = shipped | {"rounds": 30, "defenses": [{"name": "token_credit"}]}
    bounds.require("x", validate(TrialConfig, credit))
    with pytest.raises(ValueError, match="all tokens of the arm: 1"):
        bounds.require("x", validate(TrialConfig, credit | {"rounds": 80}))
    spans = [{"name": "token_credit", "span": 2}]
    bounds.require("x", validate(TrialConfig, credit | {"rounds": 40, "defenses": spans}))


def test_a_run_with_a_damaged_stream_is_no_entry(run: Path, tmp_path: Path) -> None:
    for name, change in (
        ("rounds.jsonl", lambda data: data + data.splitlines(keepends=True)[-1]),  # one twice
        ("rounds.jsonl", lambda data: data.replace(data.splitlines(keepends=True)[1], b"")),
        ("completions.jsonl.gz", lambda data: data[:100]),
        ("completions.jsonl.gz", lambda data: b""),  # noqa: ARG005
    ):
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(run, folder)
        file = folder / "trials" / "attack" / "seed-0" / name
        file.write_bytes(change(file.read_bytes()))
        with pytest.raises(ValueError, match=name.replace(".", r"\.")) as caught:
            entry.pack(folder)
        assert "\n" not in str(caught.value)


def test_a_file_that_is_no_entry_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    contents = {
        "large": b" " * (256 * 1024 + 1),
        "deep": b"[" * 100_000,
        "number": b"1" * 10_000,
        "infinite": b'{"schema": Infinity}',
        "latin": b'"\xff"',
        "list": b"[]",
        "surrogate": b'{"schema": "\\ud800"}',
        "empty": b"",
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    for name in ("pipe", ".", "nothing", *contents):
        with pytest.raises(ValueError, match=r"^/.*") as caught:
            entry.read(tmp_path / name)
        assert "\n" not in str(caught.value)


KEYS = st.text(max_size=5) | st.sampled_from(["name", "path", "model"])
WORDS = ("../x", "/etc/passwd", "tiny-math", "judge", "local", "path", "\ud800")
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON: st.SearchStrategy[Any] = LEAVES | st.sampled_from(WORDS)
JSON |= st.lists(JSON, max_size=3) | st.dictionaries(KEYS, JSON, max_size=3)
JSON |= st.lists(JSON, max_size=2) | st.dictionaries(KEYS, JSON, max_size=2)


def places(table: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a table, that of the whole left out."""
    items = (
        table.items()
        if isinstance(table, dict)
        else enumerate(table)
        if isinstance(table, list)
        else ()
    )
    return [place for key, inner in items for place in ((*path, key), *places(inner, (*path, key)))]


@settings(max_examples=300)
@given(data=st.data())
def test_whatever_stands_anywhere_in_an_entry_it_is_refused_in_one_line_or_within_bounds(
    packed: dict[str, Any], data: st.DataObject
) -> None:
    made = json.loads(json.dumps(packed))
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(made)))
        if data.draw(st.booleans()):
            path = (*path[:-1], data.draw(st.text(max_size=5))) if path[1:] else path
        value = data.draw(JSON)
        try:
            made = changed(made, path, value)
        except TypeError:  # a name where a list has numbers
            continue
    try:
        found = entry.parse(made, "entry")
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
        for trial in checking.trials(found, checking.seed_of(found, None), Path("/nowhere")):
            assert trial.folder.resolve().is_relative_to("/nowhere/trials")
            assert set(trial.config.model_paths) <= {*zoo.names()}
            assert trial.config.exchange == {"name": "memory"}
    assert not refused or refused.startswith("entry")
    assert "\n" not in refused


@given(st.binary(max_size=200) | JSON.map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"any\.json") as caught:
        entry.read(file)
    assert "\n" not in str(caught.value)
