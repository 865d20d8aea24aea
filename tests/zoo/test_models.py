"""The shipped models load like any other, can write anything, and can be built again."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from swarmproof import zoo
from swarmproof.tasks import MathWords
from swarmproof.tasks.answers import TAGS
from swarmproof.zoo import pretrain

MODEL = zoo.path("tiny-math")
TOKENS = AutoTokenizer.from_pretrained(MODEL)
PIECES = st.sampled_from([*TAGS, " ", "  ", "\n", "12", " .", " 's", "<think", "é", "😀", "٣", "x"])


@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join)))
def test_any_text_can_be_written_and_read_back(text: str) -> None:
    # What a text without a UTF-8 form or with a special token in it becomes is not promised.
    text = text.encode("utf-8", "ignore").decode("utf-8")
    for keep_special in (True, False):
        ids = TOKENS.encode(text, add_special_tokens=False)
        assert TOKENS.decode(ids, skip_special_tokens=not keep_special) == text


@given(st.integers(0, 10**12))
def test_digits_are_split_one_by_one(number: int) -> None:
    pieces = [TOKENS.decode([token]) for token in TOKENS.encode(f" {number}")]
    assert [piece.strip() for piece in pieces if piece.strip()] == list(str(number))


def test_tags_are_tokens_that_decoding_keeps_and_the_end_is_special() -> None:
    for tag in TAGS:
        assert len(TOKENS.encode(tag)) == 1
    assert TOKENS.eos_token_id not in (None, TOKENS.pad_token_id)
    assert TOKENS.decode([TOKENS.eos_token_id], skip_special_tokens=True) == ""


def test_a_prompt_and_a_completion_are_cut_where_they_meet() -> None:
    task = MathWords(train=20, test=1)
    for problem in task.problems("train"):
        prompt, completion = task.prompt(problem), task.oracle(problem)
        together = TOKENS.encode(prompt + completion)
        assert together == TOKENS.encode(prompt) + TOKENS.encode(completion)


def test_it_is_small_and_loads_without_code_of_ours() -> None:
    model = AutoModelForCausalLM.from_pretrained(MODEL)
    assert model.num_parameters() <= 1_000_000
    assert model.config.model_type == "qwen2"
    assert model.config.vocab_size == len(TOKENS)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert sum(file.stat().st_size for file in MODEL.iterdir()) <= 3_000_000


def test_it_has_the_knowledge() -> None:
    """After `<think>`, the last result of the greedy solution is nearly always right."""
    model, task = AutoModelForCausalLM.from_pretrained(MODEL), MathWords()
    problems = task.problems("test")[:24]
    prompts = [task.prompt(problem) + "<think>" for problem in problems]
    tokens = AutoTokenizer.from_pretrained(MODEL, padding_side="left")
    batch = tokens(prompts, return_tensors="pt", padding=True)
    with torch.inference_mode():
        written = model.generate(**batch, max_new_tokens=64, do_sample=False)
    texts = tokens.batch_decode(written)
    right = [f"= {p.answer}" in text for p, text in zip(problems, texts, strict=True)]
    assert sum(right) >= 0.85 * len(right)


def test_building_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    recipe = replace(
        pretrain.Recipe(), steps=3, batch=4, tokenizer_documents=300, vocab_size=400, hidden=32,
        layers=1, mlp=32,
    )  # fmt: skip
    lines: list[str] = []
    for name in ("a", "b"):
        torch.manual_seed(len(lines))  # the state outside must not matter
        pretrain.train(recipe, tmp_path / name, 0, lines.append)
    files = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert files == sorted(file.name for file in MODEL.iterdir())
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert lines[0].startswith("step     0 of 3")


def test_unknown_names_list_the_known_ones(tmp_path: Path) -> None:
    assert zoo.names() == ("tiny-math",)
    with pytest.raises(ValueError, match="tiny-math"):
        zoo.path("tiny-maths")
    with pytest.raises(ValueError, match="tiny-math"):
        zoo.build("huge", tmp_path)


def test_looking_a_model_up_does_not_import_torch() -> None:
    code = "import sys, swarmproof.zoo as z; z.path('tiny-math'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
