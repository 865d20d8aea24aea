"""`[matrix]`: every attack with every defence, as arms that can name folders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from swarmproof.config import load

BASE = """
rounds = 3
task = { name = "math_words" }
attack = { name = "text", phrase = "hello" }
"""


def write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(BASE + text, encoding="utf-8")
    return str(path)


def test_names_of_plug_ins_make_a_grid(tmp_path: Path) -> None:
    path = write(
        tmp_path, '[matrix]\nattacks = ["none", "text", "length"]\ndefenses = ["none", "logit"]'
    )
    arms = load(path).arms
    assert list(arms) == [
        "none.none", "none.logit", "text.none", "text.logit", "length.none", "length.logit"
    ]  # fmt: skip
    assert [arm.swarm.malicious for arm in arms.values()] == [0, 0, 1, 1, 1, 1]
    assert arms["none.logit"].attack == {"name": "text", "phrase": "hello"}
    assert arms["text.logit"].attack == {"name": "text", "phrase": "hello"}
    assert arms["length.none"].attack == {"name": "length"}
    assert [bool(arm.defenses) for arm in arms.values()] == [False, True] * 3
    for name in arms:
        assert re.fullmatch(r"\w[\w.-]*", name)


def test_tables_are_settings_as_in_an_arm(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "[matrix.attacks.end]\nattack = { where = 'end' }\n"
        "[matrix.defenses.kl]\ngrpo = { beta = 0.1 }\n"
        "[arms.plain]\nswarm = { malicious = 0 }\n",
    )
    config = load(path, overrides=["rounds=5"])
    assert list(config.arms) == ["plain", "end.kl"]
    arm = config.arms["end.kl"]
    assert arm.attack == {"name": "text", "phrase": "hello", "where": "end"}
    assert (arm.grpo.beta, arm.rounds) == (0.1, 5)
    assert list(load(path, arms=["end.kl"]).arms) == ["end.kl"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("matrix = 3", "matrix must be a table"),
        ("[matrix]\nattack = ['text']\ndefenses = ['none']", "unknown setting 'attack'; did you"),
        ("[matrix]\nattacks = ['text']", "matrix.defenses must be a list of names"),
        ("[matrix]\nattacks = []\ndefenses = ['none']", "matrix.attacks must be a list of names"),
        ("[matrix]\nattacks = [3]\ndefenses = ['none']", "matrix.attacks must be a list of names"),
        ("[matrix]\nattacks = ['text', 'text']\ndefenses = ['none']", "'text' is listed twice"),
        ("[matrix]\nattacks = ['txet']\ndefenses = ['none']", "attack: no attack is called 'txet'"),
        ("[matrix]\nattacks = ['a/b']\ndefenses = ['none']", "an arm cannot be called 'a/b.none'"),
        (
            "[matrix]\nattacks = ['text']\ndefenses = ['none']\n[arms.'text.none']",
            "'text.none' is in .matrix. and in .arms.",
        ),
        (
            f"[matrix]\nattacks = {[f'a{i}' for i in range(99)]}\n"
            f"defenses = {[f'd{i}' for i in range(99)]}",
            "9801 arms; at most 1024",
        ),
        (
            "[matrix.attacks.x]\nattak = {}\n[matrix.defenses.y]\n",
            "unknown setting 'attak'; did you mean 'attack'",
        ),
    ],
)
def test_a_matrix_that_is_none_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        load(write(tmp_path, text))
    assert "\n" not in str(caught.value)
