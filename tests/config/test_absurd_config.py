"""Absurd files and values: one short line at once, whatever a file holds."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproof.config import ExperimentConfig, load, override, quote

BASE = """
rounds = 3
task = { name = "math_words", train = 100 }
attack = { name = "text", phrase = "hello" }
"""
ARM = "\n[arms.a]\n"


def mistake(folder: Path, text: str, *overrides: str) -> str:
    """The line that a file is refused with, which must come at once, be short and be printable."""
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    began = time.process_time()
    with pytest.raises(ValueError, match=r".") as caught:
        load(str(path), overrides=overrides)
    line = str(caught.value).replace(str(path), "mine.toml")
    assert time.process_time() - began < 2
    assert line.isprintable()
    assert len(line) < 500
    return line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (".".join("a" * 20_000) + " = 1", "a key has more than 16 parts (line 1)"),
        ("x = 1\n[" + " . ".join(["'a'"] * 20_000) + "]", "more than 16 parts (line 2)"),
        ("x = { " + ".".join(['"a.b"'] * 20_000) + " = 1 }", "more than 16 parts (line 1)"),
        ("k" * 10_000 + " = 1" + BASE + ARM, "unknown setting 'kkk"),
        (f"{BASE}swarm = {{ {'k' * 10_000} = 1 }}{ARM}", "unknown setting"),
        (f'{BASE}swarm = {{ "\\u001b[2J" = 1 }}{ARM}', "unknown setting"),
        (f'"\\u001b[2J" = 1{BASE}{ARM}', r"unknown setting '\x1b[2J'"),
        ("[" + "k" * 10_000 + "]\n[" + "k" * 10_000 + "]", "not valid TOML"),
        (f"{BASE}[arms.{'a' * 300}]", "use at most 50"),
        (f'{BASE}[arms."{"ä" * 101}"]', "use at most 50"),
        (f"name = '{'n' * 300}'{BASE}{ARM}", "name: String should have at most 100"),
        (f'name = "a\\u001b[2J"{BASE}{ARM}', "name: it has a control character"),
        (f'title = "a\\u202eb"{BASE}{ARM}', "title: it has a control character"),
        (f"seeds = [99999999999999999999]{BASE}{ARM}", "seeds.0: Input should be less than"),
        (f"seeds = [{', '.join(map(str, range(2000)))}]{BASE}{ARM}", "at most 1000 items"),
        (BASE + ARM + "#" * 300_000, "mine.toml has 300,"),
        (BASE + "".join(f"[arms.a{i}]\nrounds = {'9' * 400}\n" for i in range(9)), "less than"),
        (f"{BASE}swarm.models = [{'[' * 200}{']' * 200}]{ARM}", ""),
    ],
    ids=lambda value: "" if len(value) > 60 else value,
)
def test_an_absurd_file_is_one_short_line(tmp_path: Path, text: str, words: str) -> None:
    assert words in mistake(tmp_path, text)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sampling.temperature=1e-320", "sampling.temperature: the number is too close to 0"),
        ("sampling.temperature=1e-20", "greater than or equal to 0.0001"),
        ("grpo.eps=1e-320", "grpo.eps: the number is too close to 0"),
        ("grpo.lr=1e300", "grpo.lr: the number is too large"),
        ("attack.poisoned_share=1e-320", "attack.poisoned_share: the number is too close to 0"),
        ("rounds=99999999999999999999", "rounds: the number should be less than 2**63"),
        ("rounds=1000000001", "less than or equal to 1000000"),
        ("rounds=" + "9" * 5000, "rounds: Unable to parse input string as an integer"),
        ("rounds=" + "9" * 4000, "got a number of more than 100 digits"),
        ("task.train=-99999999999999999999", "task.train: the number should be"),
        ("sampling.top_k=9999999999999", "sampling.top_k: .*less than"),
        ("grpo.warmup=9999999999999", "grpo.warmup"),
        ("grpo.updates=9999999999999", "grpo.updates"),
        ("evaluation.every=9999999999999", "evaluation.every"),
        ("evaluation.problems=9999999999999", "evaluation.problems"),
        ("grpo.micro_batch_tokens=9999999999999", "grpo.micro_batch_tokens"),
        ("checkpoint_every=9999999999999", "checkpoint_every"),
        ("attack.phrase=" + "x" * 100_000, "attack.phrase: the text is too long"),
        ("model.path=" + "x" * 10_000, "model.path: String should have at most 4096"),
        ("model.device=cuda:" + "9" * 1000, "model.device"),
        (".".join("a" * 20_000) + "=1", "--set 'a.a.a"),
        ("a" * 20_000 + "=1", "unknown setting"),
        ("swarm.\x1b[2J=1", "unknown setting"),
        ("\x1b[2J", "write it as key=value"),
        ("swarm.nodes=\x1b[2J", "swarm.nodes"),
    ],
    ids=lambda value: value[:40].replace("\x1b", "ESC"),
)
def test_an_absurd_value_is_one_short_line(tmp_path: Path, override: str, words: str) -> None:
    line = mistake(tmp_path, BASE + ARM, override)
    assert words in line or re.search(words, line)


def test_dots_of_values_are_not_those_of_a_key(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    sentences = "One. " * 40 + "1.5." * 40
    path.write_text(
        f"claim = '{sentences}'  # {sentences}\ntitle = '''\n{'a.' * 40}'''\n"
        f"{BASE.replace('hello', 'x.' * 40)}{ARM}"
    )
    assert load(str(path)).claim == sentences


def test_what_is_quoted_is_short_and_printable() -> None:
    assert quote("a\nb") == r"'a\nb'"
    assert quote("x" * 60) == f"'{'x' * 59} …"
    assert quote(10**30) == str(10**30)
    assert quote(10**5000) == "a number of more than 100 digits"


@given(st.text(max_size=200))
def test_any_text_is_quoted_on_one_printable_line(text: str) -> None:
    assert quote(text).isprintable()
    assert len(quote(text)) <= 62


def test_settings_from_python_are_those_of_texts() -> None:
    table = {"attack": {"name": "text", "phrase": "x"}, "rounds": 1}
    by_text = override(table, ["attack.phrase=y", "rounds=3", "swarm.models=['a', 'b']"])
    for settings in (
        {"attack.phrase": "y", "rounds": 3, "swarm.models": ["a", "b"]},
        {"attack": {"phrase": "y"}, "rounds": np.int64(3), "swarm": {"models": (Path("a"), "b")}},
        {"attack": {"name": "text", "phrase": "y"}, "rounds": 3, "swarm.models": ["a", "b"]},
    ):
        assert override(table, settings) == by_text
    assert override(table, {"grpo": {"a.b": 1}})["grpo"] == {"a": {"b": 1}}
    # Another plug-in shares no parameters with the one that it replaces; nor does a text differ.
    assert override(table, {"attack.name": "equation"})["attack"] == {"name": "equation"}
    # A text is a text, never TOML.
    assert override(table, {"attack.phrase": "3"})["attack"]["phrase"] == "3"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"": 1}, "use names with dots"),
        ({"a..b": 1}, "use names with dots"),
        ({1: 1}, "use names with dots"),
        ({"seeds": [1]}, "seeds is not a setting of an arm"),
        ({"attack": {"phrase": object()}}, "set attack.phrase: a setting is a text.*not object"),
        ({"a" * 1000: {1, 2}}, "not set"),
        ({".".join("a" * 100): 1}, "the key has 100 parts"),
    ],
)
def test_a_setting_from_python_that_is_none_is_one_line(
    settings: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        override({}, settings)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_tables_within_tables_without_end_are_refused() -> None:
    endless: dict[str, object] = {}
    endless["a"] = endless
    with pytest.raises(ValueError, match="nested too deeply"):
        override({}, {"x": endless})


def test_an_experiment_of_absurd_numbers_is_refused_from_python_too() -> None:
    with pytest.raises(ValueError, match=r"rounds: the number should be less than 2\*\*63"):
        load("text-horizontal", overrides={"rounds": 10**5000})
    assert isinstance(load("text-horizontal", overrides={"rounds": 5}), ExperimentConfig)
