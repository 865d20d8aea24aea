"""Locates a model: a zoo name, an added one, a directory, or a hub id. Imports no torch."""

from __future__ import annotations

from pathlib import Path

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
    folder = Path(locate(path, key))
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(path, "config.json")
        if not isinstance(config, str):
            raise ValueError(f"{key} = {path!r} is not in the local cache; load it once")
        folder = Path(config).parent
    found = [
        file for file in folder.iterdir() if file.suffix in SUFFIXES and file.name != added.CARD
    ]
    return sorted(found, key=lambda file: file.name)
