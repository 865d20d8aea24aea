"""Locates a model: a zoo name, an added one, a directory, or a hub id; and reads its configs.

Imports no torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swarmproof import zoo
from swarmproof.zoo import added

# Suffixes of the files of a model.
SUFFIXES = (".json", ".safetensors", ".bin", ".model", ".txt", ".jinja", ".gguf")


def locate(path: str, key: str = "model.path") -> str:
    """The argument of `from_pretrained` for a model path of the config.

    Args:
        path: a zoo name, the name of an added model, a directory, or a hub id.
        key: the config key of the path, named in the error.

    Raises:
        ValueError: the path is none of these, or the directory holds no model.
    """
    if path in zoo.names():
        return str(zoo.path(path))
    if (folder := added.path(path)) is not None:
        return str(folder)
    if Path(path).is_dir():
        if not (Path(path) / "config.json").is_file():
            raise ValueError(f"{key} = {path!r} has no config.json; is it a model directory?")
        return path
    if path.count("/") == 1 and not path.startswith((".", "/", "~")):
        return path
    raise ValueError(
        f"{key} = {path!r} is not a directory, a hub id (owner/name) or a zoo model"
        f"{added.hint(path)}; the zoo has: {', '.join((*zoo.names(), *added.names()))}"
    )


def files_of(path: str, key: str = "model.path") -> list[Path]:
    """The files of a model, sorted by name: weights, configs, tokenizer; not the card.

    For a hub model, these are the files in the local cache.

    Raises:
        ValueError: the model is not on this machine.
    """
    config = _config_file(path, key)
    if config is None:
        raise ValueError(f"{key} = {path!r} is not in the local cache; load it once")
    found = [
        file
        for file in config.parent.iterdir()
        if file.suffix in SUFFIXES and file.name != added.CARD
    ]
    return sorted(found, key=lambda file: file.name)


def config_of(path: str, key: str = "model.path") -> Any:
    """What the `config.json` of a model has; None if it is not on this machine.

    Raises:
        ValueError: it cannot be read, or is that of a quantized model.
    """
    file = _config_file(path, key)
    if file is None:
        return None
    config = _read(file, f"{key} = {path!r}")
    require_plain(config, f"{key} = {path!r}")
    return config


def require_whole(path: str, key: str = "model.path") -> None:
    """Raise ValueError if weights, or a `generation_config.json`, are damaged. Reads no weights.

    transformers would leave that file out without a word, and with it the ends of text that it
    declares. Of weights the header is read, which says how long the file is.
    """
    from safetensors import SafetensorError, safe_open

    config = _config_file(path, key)
    if config is None:
        return
    file, where = config.with_name("generation_config.json"), f"{key} = {path!r}"
    if file.exists() and not isinstance(_read(file, where), dict):
        raise ValueError(
            f"{where}: cannot read its {file.name} (it is no table); get the model's files again"
        )
    for file in sorted(config.parent.glob("*.safetensors")):
        try:
            with safe_open(file, framework="numpy"):
                pass
        except (OSError, SafetensorError) as error:
            raise ValueError(
                f"{where}: cannot read its {file.name} ({error}); get the model's files again"
            ) from None


def _read(file: Path, where: str) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{where}: cannot read its {file.name} ({error}); get the model's files again"
        ) from None


def require_plain(config: Any, where: str) -> None:
    """Raise ValueError if a config is that of a quantized model.

    Args:
        where: names the model in the error.
    """
    if isinstance(config, dict) and config.get("quantization_config"):
        raise ValueError(
            f"{where} has a quantization_config in its config.json, and quantized models are not "
            "supported; use the unquantized weights"
        )


def _config_file(path: str, key: str) -> Path | None:
    """Where the `config.json` of a model is; None for one of the hub that is not in the cache."""
    source = locate(path, key)
    if Path(source).is_dir():
        return Path(source) / "config.json"
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source, "config.json")
    return Path(found) if isinstance(found, str) else None
