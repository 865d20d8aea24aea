"""The models that `swarmproof zoo add` wrote, and where each came from. Imports no torch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from swarmproof import zoo
from swarmproof.zoo import places
from swarmproof.zoo.addable import ADDABLE

CARD = "swarmproof.json"  # in the folder of an added model: its name, source, weights and licence
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")


def names() -> tuple[str, ...]:
    """The names of the added models. Folders without a card are not ours."""
    folder = places.models()
    found = folder.glob(f"*/{CARD}") if folder.is_dir() else ()
    return tuple(sorted(c.parent.name for c in found if not c.parent.name.startswith(".")))


def path(name: str) -> Path | None:
    """The folder of an added model; None if no such model was added."""
    folder = places.models() / name
    return folder if _NAME.fullmatch(name) and (folder / CARD).is_file() else None


def require_free(name: str) -> None:
    """Raise ValueError unless a model may be added under this name."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"a model cannot be called {name!r:.80}; use letters, digits, -, _, dots")
    if name in zoo.names():
        raise ValueError(f"{name!r} ships with the package; give your model another name")


def card(folder: Path) -> dict[str, Any] | None:
    """The card of a model's folder; None if it was not added by `zoo add`.

    Raises:
        ValueError: the card is damaged.
    """
    file = folder / CARD
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot read {file}: {error}; add the model again") from None
    if not isinstance(found, dict) or not all(
        isinstance(found.get(key), str) for key in ("source", "weights", "licence")
    ):
        raise ValueError(f"{file} is damaged; delete its folder, and add the model again")
    return found


def origin(folder: Path) -> str | None:
    """One line that says where the weights of an added model are from; None for other models."""
    found = card(folder)
    return None if found is None else f"{found['source']}; {found['weights']}"


def hint(name: str) -> str:
    """How a known model that was not added yet is added, to end a message; else empty."""
    return f"; `swarmproof zoo add {name}` adds it" if name in ADDABLE else ""
