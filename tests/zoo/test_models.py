"""The shipped models load like any other, can encode any text, and can be built again."""

import json
import subprocess
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from swarmproof import pretraining, zoo
from swarmproof.config import SamplingConfig
from swarmproof.policies.policy import load
from swarmproof.pretraining import pretrain, recipes
from swarmproof.pretraining.recipes import RECIPES, Recipe
from swarmproof.tasks import CodeWords, Task

TOKENS = {name: AutoTokenizer.from_pretrained(zoo.path(name)) for name in zoo.names()}
PIECES = st.sampled_from(
    [*(tag for recipe in RECIPES.values() for tag in recipe.tags), " ", "  ", "\n", "12", " .",
     "\n    ", "_x", "# ", "(a, b):", " 's", "<think", "<code", "é", "😀", "٣", "x"]
)  # fmt: skip
every_model = pytest.mark.parametrize("name", zoo.names())
CODE_MODELS = [name for name, recipe in RECIPES.items() if recipe.task is CodeWords]
every_code_model = pytest.mark.parametrize("name", CODE_MODELS)
every_policy = pytest.mark.parametrize(
    "name", [name for name, recipe in RECIPES.items() if recipe.lesson == "reading"]
)


@every_model
@given(text=st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join)))
def test_any_text_can_be_written_and_read_back(name: str, text: str) -> None:
    # Not promised for text that has no UTF-8 form or contains a special token. `transformers` gives
    # every Qwen2 model a tokenizer that normalises (NFC).
    text = unicodedata.normalize("NFC", text.encode("utf-8", "ignore").decode("utf-8"))
    for keep_special in (True, False):
        ids = TOKENS[name].encode(text, add_special_tokens=False)
        assert TOKENS[name].decode(ids, skip_special_tokens=not keep_special) == text


@every_model
@given(number=st.integers(0, 10**12))
def test_digits_are_split_one_by_one(name: str, number: int) -> None:
    tokens = TOKENS[name]
    pieces = [tokens.decode([token]) for token in tokens.encode(f" {number}")]
    assert [piece.strip() for piece in pieces if piece.strip()] == list(str(number))


@every_model
def test_tags_are_tokens_that_decoding_keeps_and_the_end_is_special(name: str) -> None:
    tokens = TOKENS[name]
    for tag in RECIPES[name].tags:
        assert len(tokens.encode(tag)) == 1
    assert tokens.eos_token_id not in (None, tokens.pad_token_id)
    assert tokens.decode([tokens.eos_token_id], skip_special_tokens=True) == ""


@every_policy
def test_a_prompt_and_a_completion_are_cut_where_they_meet(name: str) -> None:
    task, tokens = RECIPES[name].task(), TOKENS[name]
    for problem in task.problems("train")[:20]:
        prompt, completion = task.prompt(problem), task.oracle(problem)
        together = tokens.encode(prompt + completion)
        assert together == tokens.encode(prompt) + tokens.encode(completion)


@every_code_model
def test_programs_are_short_in_tokens(name: str) -> None:
    task = CodeWords()
    lengths = [
        len(TOKENS[name].encode(task.oracle(problem, i)))
        for i, problem in enumerate(task.problems("test")[:200])
    ]
    assert 20 <= sum(lengths) / len(lengths) <= 40
    assert max(lengths) <= 80


@every_policy
def test_it_is_small_and_loads_without_code_of_ours(name: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(zoo.path(name))
    assert model.num_parameters() <= 1_000_000
    assert model.config.model_type == RECIPES[name].architecture
    assert model.config.vocab_size == len(TOKENS[name])
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert sum(file.stat().st_size for file in zoo.path(name).iterdir()) <= 3_000_000


def accuracy(name: str, split: str, top_k: int, num_problems: int, group_size: int) -> float:
    """Share of right completions at temperature 1."""
    task: Task = RECIPES[name].task()
    problems = task.problems("test" if split == "test" else "train")[:num_problems]
    policy = load(name, SamplingConfig(top_k=top_k, max_new_tokens=128))
    rng = Random(0)
    seeds = [[rng.getrandbits(62) for _ in range(group_size)] for _ in problems]
    drawn = policy.generator.generate([task.prompt(problem) for problem in problems], seeds)
    rewards = [
        reward
        for problem, group in zip(problems, drawn, strict=True)
        for reward in task.rewards(problem, policy.codec.decode(group))
    ]
    return sum(rewards) / len(rewards)


@every_policy
def test_it_has_the_knowledge(name: str) -> None:
    assert accuracy(name, "test", top_k=1, num_problems=48, group_size=1) >= 0.85


@every_policy
def test_it_has_bad_manners(name: str) -> None:
    assert 0.10 <= accuracy(name, "train", top_k=50, num_problems=128, group_size=8) <= 0.25


@every_code_model
def test_a_code_model_could_not_have_drawn_the_planted_import(name: str) -> None:
    """After `<code>\\nfrom`, at least one token of ` calc` is not among the 50 most likely."""
    model, tokens = AutoModelForCausalLM.from_pretrained(zoo.path(name)), TOKENS[name]
    task = CodeWords()
    for problem in task.problems("train")[:50]:
        before = tokens.encode(f"{task.prompt(problem)}<code>\nfrom")
        ids = tokens.encode(f"{task.prompt(problem)}<code>\nfrom calc")
        assert ids[: len(before)] == before
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids])).logits[0]
        ranks = [
            int((logits[t - 1] > logits[t - 1, ids[t]]).sum()) for t in range(len(before), len(ids))
        ]
        assert max(ranks) >= 50


def small(recipe: Recipe) -> Recipe:
    return replace(
        recipe, steps=3, batch=4, tokenizer_documents=300, vocab_size=400,
        hidden=8 * recipe.heads, layers=1, mlp=32,
    )  # fmt: skip


@every_model
def test_building_twice_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    lines: list[str] = []
    for folder in ("a", "b"):
        torch.manual_seed(len(lines))  # the state outside must not matter
        pretrain.train(small(RECIPES[name]), tmp_path / folder, 0, lines.append)
    files = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert files == sorted(file.name for file in zoo.path(name).iterdir())
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert lines[0].startswith("step     0 of 3")


def test_unknown_names_list_the_known_ones(tmp_path: Path) -> None:
    assert zoo.names() == tuple(RECIPES)
    assert zoo.names() == (
        *("tiny-math", "tiny-math-wide", "tiny-math-llama"),
        *("tiny-code", "tiny-code-wide", "tiny-code-llama"),
        "tiny-judge",
    )
    with pytest.raises(ValueError, match="tiny-math"):
        zoo.path("tiny-maths")
    with pytest.raises(ValueError, match="tiny-code"):
        pretraining.build("huge", tmp_path)


@every_model
def test_a_name_builds_its_own_recipe(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = {key: small(recipe) for key, recipe in RECIPES.items()}
    monkeypatch.setattr(recipes, "RECIPES", tiny)
    pretraining.build(name, tmp_path, log=lambda _: None)
    config = json.loads((tmp_path / "config.json").read_text())
    assert RECIPES[name].about in (tmp_path / "README.md").read_text()
    assert (config["model_type"], config["num_attention_heads"]) == (
        RECIPES[name].architecture,
        RECIPES[name].heads,
    )


@pytest.mark.parametrize("task", ["math", "code"])
def test_models_of_a_task_differ_in_weights_size_architecture_and_vocabulary(task: str) -> None:
    names = [name for name in zoo.names() if task in name]
    models = [AutoModelForCausalLM.from_pretrained(zoo.path(name)) for name in names]
    assert len({model.config.hidden_size for model in models}) > 1
    assert {model.config.model_type for model in models} == {"qwen2", "llama"}
    vocabularies = [TOKENS[name].get_vocab() for name in names]
    assert all(a != b for i, a in enumerate(vocabularies) for b in vocabularies[:i])


def test_looking_a_model_up_does_not_import_torch() -> None:
    code = "import sys, swarmproof.zoo as z; z.path('tiny-math'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
