"""A prompt that a model has no positions for is refused before a run, with both lengths."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from swarmproof import zoo
from swarmproof.config import TrialConfig
from swarmproof.policies import loader, policy
from swarmproof.swarm import context
from swarmproof.swarm.assembly import check
from swarmproof.swarm.warmup import task_of
from swarmproof.zoo import locate
from swarms import trial_config

# Tokens of a prompt of the task `letters`, such as `a b:`, one a byte.
PROMPT = 4


def with_config(model: Path, folder: Path, **changes: Any) -> Path:
    """The same model, with another `config.json`; None takes a key away."""
    path = shutil.copytree(model, folder / "model")
    table = json.loads((path / "config.json").read_text()) | changes
    kept = {key: value for key, value in table.items() if value is not None}
    (path / "config.json").write_text(json.dumps(kept))
    return path


def config_of(model: Path, max_new_tokens: int = 56) -> TrialConfig:
    return trial_config(model, sampling={"max_new_tokens": max_new_tokens})


def refused(config: TrialConfig, words: str) -> str:
    with pytest.raises(ValueError, match=words) as caught:
        check(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_prompt_longer_than_the_context_is_named_with_both_lengths(
    random_model: Path, tmp_path: Path
) -> None:
    path = with_config(random_model, tmp_path, max_position_embeddings=PROMPT)
    line = refused(config_of(path), r"the problem 'letters/train/\w\w' has 4 tokens")
    assert f"the context of model.path = {str(path)!r} has 4 positions" in line
    assert "another model" in line


def test_prompt_and_completion_together_fit_exactly_or_are_refused(
    random_model: Path, tmp_path: Path
) -> None:
    path = with_config(random_model, tmp_path, max_position_embeddings=60)
    check(config_of(path, 60 - PROMPT))
    line = refused(config_of(path, 61 - PROMPT), "together 61")
    assert "has 4 tokens and sampling.max_new_tokens is 57" in line
    assert "has 60 positions; set sampling.max_new_tokens to 56 or less" in line


def test_the_longest_prompt_in_tokens_is_found_behind_many_that_are_longer_in_letters(
    random_model: Path, tmp_path: Path
) -> None:
    """Wide letters are more tokens: of 100 problems only the shortest has too many."""
    path = with_config(random_model, tmp_path, max_position_embeddings=150)
    rows = [{"question": "a" * 50 + str(n), "answer": "#### 1"} for n in range(100)]
    rows.append({"question": "\u6570" * 40, "answer": "#### 1"})
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"name": "gsm8k", "path": str(tmp_path / "data.jsonl"), "holdout": 1}
    config = trial_config(path, task=task, sampling={"max_new_tokens": 16})
    longest = max(len(question["question"].encode()) for question in rows)
    line = refused(config, "positions")
    assert longest == 120
    (told,) = (int(word) for word in line.split(" tokens")[0].split()[-1:])
    assert told > 120


def test_every_model_of_a_swarm_is_checked(
    random_model: Path, foreign_model: Path, tmp_path: Path
) -> None:
    path = with_config(foreign_model, tmp_path, max_position_embeddings=20)
    config = trial_config(random_model, swarm={"models": [str(random_model), str(path)]})
    assert f"swarm.models = {str(path)!r} has 20 positions" in refused(config, "positions")


WARM = {"steps": 2, "batch": 4, "problems": 8}


def warm_tokens(path: Path) -> int:
    """Of the longest prompt with its solution and end-of-text, one a byte but for the tags."""
    config = trial_config(path, warmup=WARM)
    tokenizer = loader.load_tokenizer(str(path))
    task = task_of(config)
    pairs = [
        task.prompt(p) + task.oracle(p, i) for p in task.problems("train")[-8:] for i in (0, 1)
    ]
    return max(len(tokenizer(pair).input_ids) for pair in pairs) + 1


def test_a_solution_of_the_warm_up_fits_exactly_or_is_refused_before_it_is_taught(
    random_model: Path, tmp_path: Path
) -> None:
    most = warm_tokens(random_model)
    path = with_config(random_model, tmp_path / "fits", max_position_embeddings=most)
    short = {"max_new_tokens": 8}
    check(trial_config(path, warmup=WARM, sampling=short))
    path = with_config(random_model, tmp_path / "short", max_position_embeddings=most - 1)
    check(trial_config(path, sampling=short))
    line = refused(
        trial_config(path, warmup=WARM, sampling=short),
        "warm-up teaches the problem 'letters/train/",
    )
    assert f"with its solution it has {most} tokens" in line
    assert f"the context of model.path = {str(path)!r} has {most - 1} positions" in line


def test_a_warm_up_that_does_not_fit_is_one_line_of_the_command(tmp_path: Path) -> None:
    path = with_config(zoo.path("tiny-math"), tmp_path, max_position_embeddings=80)
    warm = ("warmup.steps=3", "warmup.problems=32", "sampling.max_new_tokens=8")
    assert re.search(r"warm-up teaches .* has 80 positions; use", told(path, tmp_path, *warm))


def test_problems_that_only_the_accuracy_after_a_warm_up_draws_must_fit(
    random_model: Path, tmp_path: Path
) -> None:
    """The attack does not apply to the first held-out problem, so no round evaluates it."""
    path = with_config(random_model, tmp_path, max_position_embeddings=150)
    rows = [{"question": str(n), "answer": "2 + 2 = 4 #### 4"} for n in range(20)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"question": "a" * 200, "answer": "1 #### 1"}, rows[0] | {"question": "b"}]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table: dict[str, Any] = {
        "task": {
            "name": "gsm8k",
            "path": str(tmp_path / "train.jsonl"),
            "test_path": str(tmp_path / "test.jsonl"),
            "prompt_template": "{question}:",
        },
        "attack": {"name": "equation"},
        "swarm": {"topology": "vertical", "malicious": 0},
        "sampling": {"max_new_tokens": 8},
    }
    check(trial_config(path, **table))
    refused(trial_config(path, warmup=WARM, **table), "has 201 tokens, .* has 150 positions")


@pytest.mark.parametrize(
    ("changes", "positions"),
    [
        ({"max_position_embeddings": 77}, 77),
        # The architecture's default, where the file says nothing.
        ({"max_position_embeddings": None}, 32768),
        ({"text_config": {"max_position_embeddings": 99}}, 99),
        (
            {
                "max_position_embeddings": 64,
                "rope_scaling": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 64,
                },
            },
            256,
        ),
        (  # with no other length, the one that is there is that before scaling
            {"max_position_embeddings": 64, "rope_scaling": {"type": "yarn", "factor": 4}},
            256,
        ),
        (
            {"max_position_embeddings": 64, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
            128,
        ),
        (  # as DeepSeek Coder has it; Vicuna 16k has the length before scaling
            {"max_position_embeddings": 64, "rope_scaling": {"type": "linear", "factor": 4.0}},
            64,
        ),
        (  # not a type
            {"max_position_embeddings": 64, "rope_scaling": {"type": ["yarn"], "factor": 4.0}},
            64,
        ),
        (
            {
                "max_position_embeddings": 512,
                "rope_scaling": {
                    "rope_type": "longrope",
                    "factor": 32.0,
                    "original_max_position_embeddings": 64,
                },
            },
            512,
        ),
        (  # as Llama 3.2 has it: 32 x 8,192 in a context of 131,072
            {
                "max_position_embeddings": 1024,
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": 32.0,
                    "original_max_position_embeddings": 64,
                },
            },
            1024,
        ),
    ],
    ids=[
        "told",
        "default",
        "of the text model",
        "scaled by yarn",
        "yarn without a length",
        "dynamic",
        "linear",
        "no type",
        "longrope",
        "scaled before",
    ],
)
def test_the_context_is_what_the_config_says(
    random_model: Path, tmp_path: Path, changes: dict[str, Any], positions: int
) -> None:
    assert context.context_of(str(with_config(random_model, tmp_path, **changes))) == positions


def test_transformers_scales_as_the_context_is_counted() -> None:
    """Dynamic scaling begins beyond `max_position_embeddings`, which llama3 does not use."""
    config = LlamaConfig(hidden_size=64, num_attention_heads=4, max_position_embeddings=64)

    def frequencies(seq_len: int, **scaling: Any) -> list[float]:
        config.rope_parameters = {"rope_theta": 10_000.0, "factor": 4.0} | scaling
        kind: str = scaling["rope_type"]
        found, _ = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len)
        return list(found.tolist())

    def plain() -> list[float]:
        return frequencies(1, rope_type="linear", factor=1.0)

    assert frequencies(64, rope_type="dynamic") == pytest.approx(plain())
    assert frequencies(256, rope_type="dynamic") != pytest.approx(plain())
    assert frequencies(64, rope_type="linear") == pytest.approx([f / 4 for f in plain()])
    table = {"rope_type": "llama3", "original_max_position_embeddings": 64}
    table |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    before = frequencies(256, **table)
    config.max_position_embeddings = 9999
    assert frequencies(256, **table) == before


@pytest.mark.parametrize(
    "number", [math.inf, math.nan, -4.0, 0, "4", True, 10**400], ids=lambda n: str(n)[:8]
)
@pytest.mark.parametrize("key", ["factor", "original_max_position_embeddings"])
@pytest.mark.parametrize("kind", ["yarn", "linear"])
def test_a_scaling_that_is_no_number_is_one_line(
    random_model: Path, tmp_path: Path, kind: str, key: str, number: Any
) -> None:
    scaling = {"rope_type": kind, "factor": 4.0, "original_max_position_embeddings": 64}
    path = with_config(random_model, tmp_path, rope_scaling=scaling | {key: number})
    line = refused(config_of(path), "the scaling of positions in its config.json has the number")
    assert str(path) in line


def test_a_config_that_transformers_refuses_is_one_line(random_model: Path, tmp_path: Path) -> None:
    path = with_config(random_model, tmp_path, max_position_embeddings=None, hidden_size="32")
    line = refused(config_of(path), r"cannot load the config of .*'hidden_size'.*expected int")
    assert "check its config.json" in line
    assert told(path, tmp_path) == f"error: arm no-attack: {line}"


def told(path: Path, tmp_path: Path, *changes: str) -> str:
    """The one line of a run with this model, which writes nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "swarmproof", "run", "text-horizontal", "--arm", "no-attack",
         "--set", f"model.path={path}", "--out", str(tmp_path / "run"),
         *(word for change in changes for word in ("--set", change))],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert not (tmp_path / "run").exists()
    (line,) = done.stderr.splitlines()
    return line


QUANTIZED = {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}
PLAIN = "quantized models are not supported; use the unquantized weights"


@pytest.mark.parametrize("cached", [False, True])
def test_a_quantized_model_is_refused_before_anything_is_written(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, cached: bool
) -> None:
    path = with_config(random_model, tmp_path, **QUANTIZED)
    name = str(path)
    if cached:  # one of the hub
        name = "nobody/quantized"
        monkeypatch.setattr(
            "huggingface_hub.try_to_load_from_cache", lambda *_: str(path / "config.json")
        )
    refused(trial_config(Path(name)), rf"^model\.path = '{name}' has .*{PLAIN}$")
    swarm = {"models": [str(random_model), name]}
    refused(trial_config(random_model, swarm=swarm), rf"^swarm\.models = '{name}' .*{PLAIN}$")
    with pytest.raises(ValueError, match=rf"^model\.path = '{name}' has .*{PLAIN}$"):
        policy.load(name)
    judge = {"name": "judge", "model": {"name": "local", "path": name}}
    refused(trial_config(random_model, defenses=[judge]), rf"^judge path = '{name}' has .*{PLAIN}$")


def test_a_quantized_model_is_one_line_of_the_command(random_model: Path, tmp_path: Path) -> None:
    path = with_config(random_model, tmp_path, **QUANTIZED)
    line = told(path, tmp_path)
    assert line.startswith(f"error: arm no-attack: model.path = {str(path)!r}")
    assert line.endswith(PLAIN)


def test_a_quantized_model_that_came_from_the_hub_just_now_is_refused(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its config is known only when it is there; weights of 8 bits need no other package."""
    fp8 = {"quantization_config": {"quant_method": "fp8"}}
    path = str(with_config(random_model, tmp_path, **fp8))
    monkeypatch.setattr(context, "config_of", lambda *_: None)
    with pytest.raises(ValueError, match=PLAIN):
        context.context_of(path)
    known: list[str] = []

    def config_of(*of: str) -> Any:
        known.append("once")
        return locate.config_of(*of) if len(known) > 1 else None

    monkeypatch.setattr(loader, "config_of", config_of)
    with pytest.raises(ValueError, match=PLAIN):
        policy.load(path)


def test_a_package_that_transformers_misses_is_one_line(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Loading a GPTQ quantized model requires optimum\nand more")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", missing)
    with pytest.raises(ValueError, match=r"^cannot load model\.path = .*GPTQ.*optimum") as found:
        policy.load(str(with_config(random_model, tmp_path)))
    assert "\n" not in str(found.value)


def test_a_damaged_config_is_one_line(random_model: Path, tmp_path: Path) -> None:
    path = with_config(random_model, tmp_path)
    for text in ("{", "[" * 100_000):
        (path / "config.json").write_text(text)
        refused(config_of(path), r"cannot read its config\.json")


def test_where_all_prompts_are_short_neither_torch_nor_transformers_is_loaded() -> None:
    code = (
        "import sys; from swarmproof import steps; steps.prepare('text-horizontal')\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
