"""Where added models and cached files are kept: never in the package. Imports no torch."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def models() -> Path:
    """The folder of added models: `$SWARMPROOF_MODELS`, or one in the platform's data folder."""
    return _place("SWARMPROOF_MODELS", "XDG_DATA_HOME", ".local/share", "Application Support")


def cache() -> Path:
    """The folder of what can be computed again: `$SWARMPROOF_CACHE`, or the platform's cache."""
    return _place("SWARMPROOF_CACHE", "XDG_CACHE_HOME", ".cache", "Caches")


def _place(own: str, xdg: str, linux: str, mac: str) -> Path:
    if chosen := os.environ.get(own):
        return Path(chosen).expanduser().absolute()
    # The standard says that a relative path is to be ignored.
    told = os.environ.get(xdg, "")
    if sys.platform == "darwin":
        root = Path.home() / "Library" / mac
    else:
        root = Path(told) if told.startswith("/") else Path.home() / linux
    return root / "swarmproof" / own.removeprefix("SWARMPROOF_").lower()
