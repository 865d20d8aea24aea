"""Saves a model as a Hugging Face folder. A full disk is an OSError, as everywhere else."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any


def save(model: Any, folder: Path) -> None:
    """`save_pretrained`, whose errors of the system are hidden in the text of another kind.

    Raises:
        OSError: the folder cannot be written, for example because the disk is full.
    """
    from safetensors import SafetensorError

    try:
        model.save_pretrained(folder)
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(folder)) from None
