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
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from swarmproof.zoo import saving

_MOST_ENTRIES = 4_000_000  # of a list in a GGUF: the longest are vocabularies and their merges
# What the reader raises on a file that was cut off or damaged.
_DAMAGE = (
    *(ValueError, LookupError, TypeError, ArithmeticError, AttributeError, AssertionError),
    *(RecursionError, MemoryError, StrictDataclassError, struct.error),
)


@dataclass(frozen=True, slots=True)
class GgufContents:
    """What a GGUF file says of itself."""

    architecture: str
    parameters: int
    weights: str  # in words: how most of its weights are stored
    licence: str
    splitting: str  # how its tokenizer splits text before the merges


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
    except _DAMAGE as error:
        raise ValueError(
            f"{file} is cut off or damaged ({_first_line(error)}); download it again"
        ) from None
    kinds = Counter[str]()
    for tensor in reader.tensors:
        kinds[tensor.tensor_type.name] += int(tensor.n_elements)
    architecture = _text(reader, "general.architecture")
    if not kinds or not architecture:
        raise ValueError(f"{file} holds no model; is it only a vocabulary?")
    count = reader.fields.get(f"{architecture}.block_count")
    layers = count.contents() if count is not None else None
    if count is not None and (not isinstance(layers, int) or not 0 < layers <= len(reader.tensors)):
        raise ValueError(
            f"{file} claims {str(layers)[:80]!r} layers and has {len(reader.tensors)} tensors; "
            "download it again"
        )
    return GgufContents(
        architecture=architecture,
        parameters=sum(prod(map(int, tensor.shape)) for tensor in reader.tensors),
        weights=_in_words(kinds.most_common(1)[0][0]),
        licence=_text(reader, "general.license") or "not stated in the file",
        splitting=_text(reader, "tokenizer.ggml.pre"),
    )


def _reader() -> Any:
    """The reader of the package, which goes on beyond the end of a file, made to stop there."""
    import numpy as np
    from gguf import GGUFReader, GGUFValueType

    class Bounded(GGUFReader):  # type: ignore[misc]  # the package has no types
        def _get(self, offset: int, dtype: Any, count: Any = 1, override_order: Any = None) -> Any:
            if offset + int(count) * np.dtype(dtype).itemsize > len(self.data):
                raise ValueError("it ends too early")
            return super()._get(offset, dtype, count, override_order)

        def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
            if raw_type == GGUFValueType.ARRAY:
                entries = int(self._get(orig_offs + 4, np.uint64)[0])
                if entries > _MOST_ENTRIES:
                    raise ValueError(f"it claims a list of {entries} entries")
            return super()._get_field_parts(orig_offs, raw_type)

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
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    # In a folder of its own: beside other files, transformers would read the tokenizer from them.
    alone = work / "gguf"
    alone.mkdir()
    (alone / "model.gguf").symlink_to(file.absolute())
    try:
        # Its bar of hundreds of tensors cannot be switched off.
        with contextlib.redirect_stderr(io.StringIO()):
            tokenizer = AutoTokenizer.from_pretrained(alone, gguf_file="model.gguf")
            loaded, info = AutoModelForCausalLM.from_pretrained(
                alone, gguf_file="model.gguf", dtype=torch.float32, output_loading_info=True
            )
    except (*_DAMAGE, RuntimeError, ImportError) as error:
        raise ValueError(
            f"{file.name}: transformers cannot read a GGUF of the architecture "
            f"{found.architecture!r:.80} ({_first_line(error)}); use a llama-like one"
        ) from None
    if missing := sorted(info["missing_keys"]):  # transformers filled them with random numbers
        raise ValueError(
            f"{file.name} has no weights for {missing[0]!r:.200} ({len(missing)} are missing); "
            "get the file again"
        )
    config = copy.deepcopy(loaded.config)
    config.__dict__.pop("quantization_config", None)
    config._name_or_path = ""
    with torch.random.fork_rng(devices=[]):  # the first weights are random, and replaced
        model = type(loaded)(config)
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.generation_config = loaded.generation_config
    _split_digits(tokenizer, found.splitting)
    saving.save(model, out)
    tokenizer.save_pretrained(out)


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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
