"""Reads a GGUF file and saves its model as an ordinary Hugging Face folder.

transformers reads the file and dequantizes its weights. It then marks the model as quantized and
refuses to save it, so the model is built again from its config with the same weights.
"""

from __future__ import annotations

import contextlib
import copy
import io
import re
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from swarmproof.zoo import gguf_settings, saving, unfit

# Parts of a file's head: an entry of a list is one, and a text two. A vocabulary of 262,144 with
# its scores, its types and 600,000 merges has 2.25 million.
_MOST_PARTS = 2_500_000
# Names of the numbers by which transformers builds a model, behind the architecture.
_SIZES = (
    *("block_count", "nextn_predict_layers", "embedding_length", "vocab_size", "dimension_count"),
    *("feed_forward_length", "expert_feed_forward_length", "expert_shared_feed_forward_length"),
    *("head_count", "head_count_kv", "key_length", "value_length", "group_count"),
    *("expert_count", "expert_used_count", "expert_shared_count"),
    *("conv_kernel", "inner_size", "state_size", "time_step_rank", "l_cache"),
)
# What the reader raises on a file that was cut off or damaged.
_DAMAGE = (
    *(ValueError, LookupError, TypeError, ArithmeticError, AttributeError, AssertionError),
    *(RecursionError, MemoryError, StrictDataclassError, struct.error),
)


@dataclass(frozen=True, slots=True)
class GgufContents:
    """What a GGUF file says of itself."""

    architecture: str
    tensors: Mapping[str, int]  # how many numbers each has
    settings: Mapping[str, object]  # those of `gguf_settings` that it has
    weights: str  # in words: how most of its weights are stored
    licence: str
    splitting: str  # how its tokenizer splits text before the merges

    @property
    def parameters(self) -> int:
        """How many numbers its tensors have in all."""
        return sum(self.tensors.values())


def require_reader() -> None:
    """Raise ValueError unless the packages that read GGUF are installed."""
    if missing := [name for name in ("gguf", "accelerate") if find_spec(name) is None]:
        raise ValueError(
            f"to read GGUF, {' and '.join(missing)} must be installed: "
            "pip install 'swarmproof[gguf]'"
        )


def contents(file: Path) -> GgufContents:
    """Read the head of a GGUF file.

    Raises:
        ValueError: it is no GGUF, or cut off, or damaged; one line.
    """
    require_reader()
    try:
        with file.open("rb") as opened:
            magic = opened.read(4)
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror}") from None
    if magic != b"GGUF":
        raise ValueError(f"{file} is not a GGUF file")
    try:
        reader = _reader()(file)
        architecture, licence, splitting = (
            _text(reader, key)
            for key in ("general.architecture", "general.license", "tokenizer.ggml.pre")
        )
        if reader.tensors and architecture:
            _require_layers(reader, architecture)
            _require_sizes(reader, architecture)
        settings = {
            key: reader.fields[f"{architecture}.{key}"].contents()
            for key in gguf_settings.KEYS
            if f"{architecture}.{key}" in reader.fields
        }
    except _DAMAGE as error:
        raise ValueError(
            f"{file} is cut off or damaged ({unfit.first_line(error)}); download it again"
        ) from None
    if not reader.tensors or not architecture:
        raise ValueError(f"{file} holds no model; is it only a vocabulary?")
    kinds = Counter[str]()
    for tensor in reader.tensors:
        kinds[tensor.tensor_type.name] += int(tensor.n_elements)
    return GgufContents(
        architecture=architecture,
        tensors={tensor.name: prod(map(int, tensor.shape)) for tensor in reader.tensors},
        settings=settings,
        weights=_in_words(kinds.most_common(1)[0][0]),
        licence=licence or "not stated in the file",
        splitting=splitting,
    )


def _require_layers(reader: Any, architecture: str) -> None:
    """Raise ValueError if a file claims more layers than it can have, or fewer than it has."""
    count = reader.fields.get(f"{architecture}.block_count")
    layers = None if count is None else count.contents()
    names = [tensor.name.split(".") for tensor in reader.tensors]
    least = max(1, len({name[1] for name in names if name[0] == "blk"}))
    if not isinstance(layers, int) or not least <= layers <= min(len(names), unfit.MOST_LAYERS):
        raise ValueError(
            f"it claims {str(layers)[:80]!r} layers and has {len(names)} tensors of {least}"
        )


def _require_sizes(reader: Any, architecture: str) -> None:
    """Raise ValueError if the model that a file claims is larger than its tensors.

    transformers would take the memory before it misses the weights.
    """
    widest = max(int(size) for tensor in reader.tensors for size in tensor.shape)
    for key, field in reader.fields.items():
        if key.rpartition(".")[2] not in _SIZES:
            continue
        # transformers takes the numbers of every architecture that it knows.
        if not key.startswith(f"{architecture}."):
            raise ValueError(f"it is a {architecture:.80} and has the number {key!r:.200}")
        told = field.contents()
        for size in told if isinstance(told, list) else [told]:
            if type(size) is not int or not 0 <= size <= widest:
                raise ValueError(
                    f"it claims a {key!r:.200} of {str(size)[:80]!r}, and the longest side of its "
                    f"tensors is {widest}"
                )


def _reader() -> Any:
    """The reader of the package, which goes on beyond the end of a file, made to stop there."""
    import numpy as np
    from gguf import GGUFReader

    class Bounded(GGUFReader):  # type: ignore[misc]  # the package has no types
        data: Any
        parts = 0

        def _get(self, offset: int, dtype: Any, count: Any = 1, override_order: Any = None) -> Any:
            if not self.parts:
                self.data = np.asarray(self.data)  # slices of a mapped file take far more memory
            self.parts += 1
            if self.parts > _MOST_PARTS:
                raise ValueError(f"its head has more than {_MOST_PARTS} parts")
            if int(offset) + int(count) * np.dtype(dtype).itemsize > len(self.data):
                raise ValueError("it ends too early")
            return super()._get(int(offset), dtype, count, override_order)

        def _build_tensors(self, start_offs: int, fields: Any) -> None:
            # Numbers near 2^64 would begin again at 0.
            offsets = [int(field.parts[-1][0]) for field in fields]
            if max(offsets, default=0) > len(self.data):
                raise ValueError("a tensor begins beyond its end")
            super()._build_tensors(int(start_offs), fields)
            if sum(tensor.n_bytes for tensor in self.tensors) > len(self.data):
                raise ValueError("its tensors share their bytes")

    return Bounded


def convert(file: Path, found: GgufContents, out: Path, work: Path) -> None:
    """Write the model of a GGUF file as an ordinary folder, in float32.

    The weights are those of the dequantized model, bit by bit, and tied weights stay tied.

    Args:
        file: the GGUF.
        found: its `contents`.
        out: the folder to write.
        work: a folder for a link to the file.

    Raises:
        ValueError: transformers cannot read this architecture; one line.
        OSError: the folder cannot be written.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    # In a folder of its own: beside other files, transformers would read the tokenizer from them.
    alone = work / "gguf"
    alone.mkdir()
    (alone / "model.gguf").symlink_to(file.absolute())
    try:
        # Its bar of hundreds of tensors cannot be switched off.
        with contextlib.redirect_stderr(io.StringIO()), unfit.quiet():
            config = AutoConfig.from_pretrained(
                alone, gguf_file="model.gguf", trust_remote_code=False
            )
            claimed = unfit.parameters(config)
            if claimed > 2 * found.parameters:
                raise ValueError(f"it claims {claimed} parameters and has {found.parameters}")
            # With the config they do not read the whole file again.
            tokenizer = AutoTokenizer.from_pretrained(
                alone, config=config, gguf_file="model.gguf", trust_remote_code=False
            )
            loaded, info = AutoModelForCausalLM.from_pretrained(
                alone,
                config=config,
                gguf_file="model.gguf",
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named below
                trust_remote_code=False,
            )
    except (*_DAMAGE, RuntimeError, ImportError) as error:
        raise ValueError(
            f"{file.name} cannot be read as a GGUF of the architecture {found.architecture!r:.80} "
            f"({unfit.first_line(error)}); get the file again, or use a llama-like one"
        ) from None
    if wrong := unfit.fault(loaded, info, "what it says of itself") or _left_out(loaded, found):
        raise ValueError(f"{file.name}: {wrong}; get the file again, or another model")
    _split_digits(tokenizer, found.splitting)
    saving.save(_plain(loaded), out)
    tokenizer.save_pretrained(out)


def _plain(loaded: Any) -> Any:
    """The same model, with no word of the GGUF that it was read from."""
    import torch

    config = copy.deepcopy(loaded.config)
    config.__dict__.pop("quantization_config", None)
    config._name_or_path = ""
    with torch.random.fork_rng(devices=[]):  # the first weights are random, and replaced
        model = type(loaded)(config)
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.generation_config = loaded.generation_config
    return model


def _left_out(model: Any, found: GgufContents) -> str:
    """Which settings or tensors transformers left out, without a word; empty if none."""
    config, kind = model.config.to_dict(), found.architecture
    return _dropped(model, found) or gguf_settings.ignored(config, kind, found.settings)


def _dropped(model: Any, found: GgufContents) -> str:
    held = {x.data_ptr(): x.numel() for x in model.state_dict().values()}  # tied weights are one
    lost = found.parameters - sum(held.values())
    if lost <= 0:
        return ""
    from transformers import modeling_gguf_pytorch_utils as reading

    kind = reading.TENSOR_PROCESSORS.get(found.architecture, reading.TensorProcessor)
    placed = reading.get_gguf_hf_weights_map(model, kind())
    # It has those of experts without the ending.
    names = sorted(t for t in found.tensors if not {t, t.removesuffix(".weight")} & placed.keys())
    return (
        f"a {found.architecture:.80} of transformers has no place for {lost} of the file's "
        f"{found.parameters} numbers ({str(names)[1:-1]:.200})"
    )


def _split_digits(tokenizer: Any, splitting: str) -> None:
    """Split digits from the space before them, as SmolLM does; transformers reads the rest only."""
    if splitting != "smollm":
        return
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )


def _in_words(kind: str) -> str:
    bits = re.search(r"\d+", kind)
    if bits is None or re.fullmatch(r"B?F\d+", kind):
        return f"as stored in the GGUF ({kind})"
    return f"dequantized from {bits[0]} bits ({kind})"


def _text(reader: Any, key: str) -> str:
    field = reader.fields.get(key)
    found = field.contents() if field is not None else ""
    return found if isinstance(found, str) and found.isprintable() else ""
