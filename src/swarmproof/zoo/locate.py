"""Where a model is: a name in the zoo, a directory, or a hub id. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from swarmproof import zoo

# Of files that a model is loaded from.
_SUFFIXES = (".json", ".safetensors", ".bin", ".model", ".txt", ".jinja", ".gguf")


def locate(path: str, key: str = "model.path") -> str:
    """What `from_pretrained` is given for a path of the config, which is at `key`.

    Raises:
        ValueError: it looks like a path and nothing is there, or is a single unknown word.
    """
    if path in zoo.names():
        return str(zoo.path(path))
    if Path(path).is_dir():
        if not (Path(path) / "config.json").is_file():
            raise ValueError(f"{key} = {path!r} has no config.json; is it a model directory?")
        return path
    if path.count("/") == 1 and not path.startswith((".", "/", "~")):
        return path
    raise ValueError(
        f"{key} = {path!r} is no directory, no hub id (owner/name) and no zoo model; "
        f"the zoo has: {', '.join(zoo.names())}"
    )


def files_of(path: str, key: str = "model.path") -> list[Path]:
    """The files that make up a model, sorted by name: weights, configs, tokenizer.

    Of a hub model those in the local cache, where it is once it has been loaded.

    Raises:
        ValueError: it is nowhere on this machine.
    """
    folder = Path(locate(path, key))
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(path, "config.json")
        if not isinstance(config, str):
            raise ValueError(f"{key} = {path!r} is not in the local cache; load it once")
        folder = Path(config).parent
    found = [file for file in folder.iterdir() if file.suffix in _SUFFIXES]
    return sorted(found, key=lambda file: file.name)
