"""Numbers that are not finite end a load or a round, in one line that says what and where."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from models import byte_tokenizer
from policies.lessons import accumulate, drawn, play, samples, trained
from swarmproof import zoo
from swarmproof.policies.policy import TrainedPolicy, adopt, load


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_is_refused_at_load(
    tmp_path: Path, qwen2_dir: Path, bad: float
) -> None:
    model = AutoModelForCausalLM.from_pretrained(qwen2_dir)
    adopt(model, byte_tokenizer())  # the control
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[3, 4] = bad
    model.save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    pattern = (
        r"has 1 NaN or infinite numbers in its weight model\.layers\.1\.mlp\.down_proj\.weight; "
    )
    with pytest.raises(ValueError, match=pattern) as found:
        load(str(tmp_path))
    assert str(tmp_path) in str(found.value)
    assert "\n" not in str(found.value)
    with pytest.raises(ValueError, match=pattern):
        adopt(model, AutoTokenizer.from_pretrained(qwen2_dir))


def test_a_model_with_missing_weights_is_not_filled_with_random_ones(
    tmp_path: Path, qwen2_dir: Path
) -> None:
    shutil.copytree(qwen2_dir, tmp_path / "holed")
    file = tmp_path / "holed" / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(
        ValueError, match=r"no weights for 'model\.layers\.1\.mlp\.up_proj"
    ) as found:
        load(str(tmp_path / "holed"))
    assert "1 are missing" in str(found.value)


FIT = r"its weights do not fit its config\.json .*get the model's files again, all of one version"
DAMAGED = r"cannot load .*; check its config\.json, or get the model's files again"

HUGE = r"tells of [0-9.]+e\+[0-9]+ parameters, and its weights have [0-9,]+ bytes; get the model's"
MANY = r"tells of '(num_hidden_layers|num_local_experts|n_layer)' = 1099511627776, and [0-9,]+ are"


def _with_config(model: Path, folder: Path, **changes: object) -> Path:
    shutil.copytree(model, folder)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_attention_heads": 3}, FIT),
        ({"num_attention_heads": 0}, DAMAGED),
        ({"num_key_value_heads": 0}, DAMAGED),
        ({"vocab_size": 10}, FIT),
        ({"num_hidden_layers": 7}, DAMAGED),
        ({"num_hidden_layers": 7, "layer_types": ["full_attention"] * 7}, "has no weights for"),
        ({"num_hidden_layers": 1, "layer_types": ["full_attention"]}, FIT),
        ({"hidden_size": "32"}, DAMAGED),
        ({"hidden_size": 0}, DAMAGED),
        ({"vocab_size": 2**40}, HUGE),
        ({"intermediate_size": 2**40}, HUGE),
        ({"num_hidden_layers": 2**40}, MANY),
        # Keys that make a config look like one of another kind.
        ({"num_local_experts": 2, "vocab_size": 2**40}, HUGE),
        ({"num_local_experts": 2**40}, MANY),
        ({"text_config": {"n_layer": 2**40}}, MANY),
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_its_weights_is_one_line(
    tmp_path: Path,
    qwen2_dir: Path,
    changes: dict[str, object],
    words: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = _with_config(qwen2_dir, tmp_path / "other", **changes)
    verbosity = logging.get_verbosity()
    with pytest.raises(ValueError, match=words) as found:
        load(str(folder))
    assert str(folder) in str(found.value)
    assert "\n" not in str(found.value)
    assert "hub" not in str(found.value)
    assert (capfd.readouterr(), caplog.text) == (("", ""), "")
    assert logging.get_verbosity() == verbosity


MORE = {
    "model.layers.0.self_attn.o_proj.bias": True,
    "model.layers.1.self_attn.q_norm.weight": True,
    "model.layers.0.extra.weight": True,
    "model.norm.bias": True,
    "model.layers.7.mlp.up_proj.weight": True,
    "model.layers.0.self_attn.rotary_emb.inv_freq": False,
    "model.layers.0.self_attn.bias": False,  # a mask in old files
    "model.layers.0.self_attn.masked_bias": False,
    "model.vision_tower.layers.0.mlp.fc1.weight": False,
    "score.weight": False,
}


@pytest.mark.parametrize("name", MORE)
def test_a_weight_that_a_layer_does_not_use_is_refused_and_others_are_not(
    tmp_path: Path, qwen2_dir: Path, name: str
) -> None:
    folder = _with_config(qwen2_dir, tmp_path / "other")
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {name: torch.ones(4)}, folder / "model.safetensors", {"format": "pt"})
    if MORE[name]:
        with pytest.raises(ValueError, match=rf"do not fit .*{re.escape(name)}' has no place"):
            load(str(folder))
    else:
        load(str(folder))


@pytest.mark.parametrize("changes", [{"vocab_size": 10}, {"num_attention_heads": 7}])
def test_a_shipped_model_with_another_config_is_one_line_of_the_command(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    folder = _with_config(zoo.path("tiny-math"), tmp_path / "other", **changes)
    done = subprocess.run(
        [sys.executable, "-m", "swarmproof", "run", "text-horizontal", "--arm", "no-attack",
         "--seeds", "1", "--jobs", "0", "--set", f"model.path={folder}", "--set", "rounds=1",
         "--out", str(tmp_path / "run")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    told = done.stderr.splitlines()
    assert re.fullmatch(rf"error: .*{re.escape(str(folder))}.*{FIT}", told[-1])
    assert [line for line in told[:-1] if not line.startswith("text-horizontal in ")] == []


def ended(policy: TrainedPolicy) -> str:
    with pytest.raises(ValueError, match=r"lower grpo\.lr") as found:
        policy.learner.step()
    assert "\n" not in str(found.value)
    return str(found.value)


def one_round_done(folder: Path) -> TrainedPolicy:
    """With a second one accumulated."""
    policy = trained(folder)
    play(policy, 0)
    rows_PG = drawn(policy)
    accumulate(policy, rows_PG, samples(rows_PG))
    return policy


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_ends_the_round_before_it_is_learnt(
    qwen2_dir: Path, bad: float
) -> None:
    policy = one_round_done(qwen2_dir)
    weight = next(iter(policy.model.parameters()))
    before = weight.detach().clone()
    assert weight.grad is not None
    weight.grad[0, 0] = bad
    assert ended(policy).startswith(f"round 1: the gradient norm is {bad}; ")
    assert torch.equal(weight, before)


def test_a_loss_that_is_not_finite_ends_the_round(qwen2_dir: Path) -> None:
    policy = trained(qwen2_dir)
    rows_PG = drawn(policy)
    with torch.no_grad():
        policy.model.get_output_embeddings().weight[0, 0] = math.nan
    accumulate(policy, rows_PG, samples(rows_PG))
    assert ended(policy).startswith("round 0: the loss is nan; ")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_weight_that_an_update_makes_infinite_ends_the_round(qwen2_dir: Path, dtype: str) -> None:
    """No setting within the bounds of the config does it, so the rate is set by hand."""
    policy = trained(qwen2_dir, dtype=dtype)
    play(policy, 0)
    policy.learner.grpo = policy.learner.grpo.model_copy(update={"lr": 1e39})
    rows_PG = drawn(policy)
    accumulate(policy, rows_PG, samples(rows_PG))
    assert ended(policy).startswith("round 1: the largest weight is ")


def test_a_largest_weight_is_that_of_any_tensor_and_nan_if_one_is(qwen2_dir: Path) -> None:
    learner = trained(qwen2_dir).learner
    with torch.no_grad():
        learner.masters[3].flatten()[1] = -77.0
        assert learner._largest_weight() == 77.0
        learner.masters[5].flatten()[2] = math.nan
    assert math.isnan(learner._largest_weight())


def test_weights_that_became_nan_by_hand_do_not_go_on_in_silence(qwen2_dir: Path) -> None:
    policy = one_round_done(qwen2_dir)
    with torch.no_grad():
        policy.learner.masters[2].fill_(math.nan)
    assert "the largest weight is nan" in ended(policy)
