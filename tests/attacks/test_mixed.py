"""MIXED: a share of the completions, and a part for each colluding node."""

from __future__ import annotations

import dataclasses

import pytest
from pydantic import ValidationError

from swarmproof import testing, zoo
from swarmproof.attacks import Attack, Mixed, Text, TextVariants
from swarmproof.defenses import Replay
from swarmproof.policies.policy import Policy
from swarmproof.registry import build
from swarmproof.tasks import MathWords
from swarms import policy, problem, refused_by, view_of_one

TASK = MathWords(train=64, test=8)
PROBLEMS = TASK.problems("train")[:16]
PHRASES = ("All hail to the thief", "Gleeb Glorp Glub")
BOTH = Mixed(parts=tuple(Text(phrase=phrase) for phrase in PHRASES))


@pytest.fixture(scope="module")
def tiny_math() -> Policy:
    return policy(zoo.path("tiny-math"), max_new_tokens=96)


def test_colluding_nodes_take_the_parts_in_turn() -> None:
    view = view_of_one(TASK, PROBLEMS[:4], kind="horizontal", malicious=(2, 3))
    sent = BOTH.craft(view)
    assert len(sent) == 4 * 6
    for node, phrase in zip((2, 3), PHRASES, strict=True):
        assert all(phrase in c.text for c in sent if c.node == node)
    assert BOTH.success(problem(), PHRASES[0]) is BOTH.success(problem(), PHRASES[1]) is True
    assert BOTH.success(problem(), "neither") is False


@pytest.mark.parametrize("kind", ["horizontal", "vertical"])
def test_a_share_is_poisoned_and_the_rest_are_the_draws_of_their_slots(
    kind: str, tiny_math: Policy
) -> None:
    view = view_of_one(TASK, PROBLEMS, kind=kind, policy=tiny_math)
    sent = Mixed(share=0.25).craft(view)
    assert {c.slot for c in sent} == {*view.slots[3]}
    poisoned = [PHRASES[0] in c.text for c in sent]
    assert 0 < sum(poisoned) < 0.5 * len(sent)
    refused = refused_by(Replay(), view, sent)
    honest = [was for was, bad in zip(refused, poisoned, strict=True) if not bad]
    # In a vertical swarm the foils of the part are sent with the same share.
    assert sum(honest) <= (0 if kind == "horizontal" else 0.4 * len(honest))
    assert all(was for was, bad in zip(refused, poisoned, strict=True) if bad)


def test_it_is_built_from_tables_and_told_as_tables() -> None:
    table = {"name": "mixed", "share": 0.01, "parts": [{"name": "text"}, {"name": "junk"}]}
    built = build(Attack, table)
    assert isinstance(built, Mixed)
    assert build(Attack, {"name": "mixed", **built.model_dump()}) == built
    assert [part.name for part in built.parts] == ["text", "junk"]


def test_parts_are_measured_alike() -> None:
    with pytest.raises(ValidationError, match="cannot be a part"):
        Mixed.model_validate({"parts": [{"name": "length"}]})
    with pytest.raises(ValidationError, match="oracle"):
        Mixed.model_validate({"parts": [{"name": "text"}], "oracle": False})


def test_a_share_needs_the_model() -> None:
    view = dataclasses.replace(view_of_one(TASK, PROBLEMS, kind="horizontal"), policy=None)
    with pytest.raises(ValueError, match="was given no model"):
        Mixed(share=0.5).craft(view)


@pytest.mark.parametrize(
    "table",
    [
        {"name": "copying", "victim": "one"},
        {"name": "equation_forms", "form": "split"},
        {"name": "junk", "style": "words"},
        {"name": "mixed", "parts": [{"name": "text"}, {"name": "text", "phrase": "Gleeb"}]},
        {"name": "text_variants", "kinds": ["homoglyphs", "synonyms"]},
    ],
    ids=lambda table: table["name"],
)
def test_other_parameters_keep_the_promises_of_attacks(table: dict[str, object]) -> None:
    testing.check(build(Attack, table))


@pytest.mark.parametrize("share", [0.5, 0.01])
def test_the_contract_knows_that_a_share_leaves_ordinary_draws(share: float) -> None:
    """0.01 is `text-one-percent` of the board."""
    testing.check(Mixed(share=share))


def test_what_its_parts_poison_it_poisons() -> None:
    losers = TextVariants(in_losers=True)
    assert Mixed(parts=(losers, Text())).poisons_losers
    assert not BOTH.poisons_losers
    assert BOTH.always_poisons
    assert not Mixed(parts=(Mixed(share=0.5), Text())).always_poisons
