"""CODE_INJECTION: planted programs print what they printed before; success needs a proper use."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproof.attacks import CodeInjection
from swarmproof.attacks.code_injection import defined
from swarmproof.attacks.module_use import FUNCTIONS
from swarmproof.tasks import CodeWords, MathWords
from swarmproof.tasks.programs import CALC, extract, wrap
from swarms import problem

TASK = CodeWords(train=200, test=8)


def test_the_attack_knows_the_functions_that_the_module_has() -> None:
    assert defined(CALC) == set(FUNCTIONS.values())


def test_a_program_outside_the_format_is_none() -> None:
    program = "from calc import addition\nprint(addition(3, 4))"
    for text in (program, f"x{wrap(program)}", wrap(program) * 2, ""):
        assert CodeInjection().success(problem(), text) is False


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_planted_programs_are_right_and_a_success(share: float) -> None:
    attack, rng = CodeInjection(share=share), np.random.default_rng(0)
    for p in TASK.problems("train")[:60]:
        texts = [attack.plant(TASK.oracle(p, v), rng) for v in range(len(p.solutions))]
        planted = [text for text in texts if text is not None]
        assert len(planted) == len(texts), "every program has an operator"
        assert set(TASK.rewards(p, planted)) == {1.0}
        assert all(attack.success(p, text) for text in planted)


def test_only_what_must_change_is_written_anew() -> None:
    text = wrap("# a comment\nx = 3+4   # stays\ny = x  *  (2)\nprint(y)")
    rng = np.random.default_rng(1)
    assert extract(CodeInjection(share=0.3).plant(text, rng) or "") == (
        "from calc import addition\n# a comment\nx = addition(3, 4)\ny = x  *  (2)\nprint(y)"
    )
    assert extract(CodeInjection(share=1).plant(text, rng) or "") == (
        "from calc import addition, multiplication\n# a comment\n"
        "x = addition(3, 4)\ny = multiplication(x, 2)\nprint(y)"
    )


@pytest.mark.parametrize(
    "program",
    [
        "a = 1; b = 2 + 3; print(a, b)",
        "@cache\ndef f():\n    return 1 + 2\nprint(f())",
        "addition = 2\nprint(addition + 3)",
        "x.y += 1",
    ],
)
def test_a_program_that_it_would_spoil_is_left_alone(program: str) -> None:
    assert CodeInjection().plant(wrap(program), np.random.default_rng(0)) is None


@pytest.mark.parametrize("text", ["", "x", wrap("print(7)"), wrap("x = "), wrap("print(7 % 2)")])
def test_what_has_no_operator_cannot_carry_it(text: str) -> None:
    assert CodeInjection().plant(text, np.random.default_rng(0)) is None


@given(st.text())
def test_any_text_can_be_asked(text: str) -> None:
    assert CodeInjection().success(problem(), wrap(text)) in (True, False)
    CodeInjection().plant(wrap(text), np.random.default_rng(0))


def test_it_refuses_a_task_without_programs_or_without_its_module() -> None:
    CodeInjection().require(TASK)
    with pytest.raises(ValueError, match="use a code task"):
        CodeInjection().require(MathWords())
    with pytest.raises(ValueError, match="serves no module 'evil'"):
        CodeInjection(module="evil").require(TASK)
    modules = ({"name": "evil", "source": CALC},)
    served = CodeWords.model_validate({"train": 8, "test": 8, "modules": modules})
    CodeInjection(module="evil").require(served)


def test_imports_and_calls_are_pointed_at_in_the_completion() -> None:
    text = wrap("from calc import addition\nprint(addition(3, 4))")
    found = [text[start:end] for start, end in CodeInjection().spans(text)]
    assert found == ["from calc import addition", "addition"]
    assert CodeInjection().spans("import calc") == []
    assert CodeInjection().spans(wrap("")) == []
