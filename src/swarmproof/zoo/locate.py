"""Where a model is: a name in the zoo, a directory, or a hub id. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from swarmproof import zoo


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
