"""Values of a user in the text of an error: short, on one line, no control characters."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WIDTH = 60
_BARE = re.compile(r"[\w-]{1,60}", re.ASCII)


def quote(value: object) -> str:
    """The value as Python writes it, cut after 60 characters.

    >>> quote("a" * 100)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa …"
    """
    if isinstance(value, int) and abs(value).bit_length() > 8 * _WIDTH:
        return "a number of more than 100 digits"  # Python refuses to write out a very large one
    # Cut first, so that a text of a gigabyte costs nothing. `repr` escapes control characters.
    text = repr(value[: _WIDTH + 1] if isinstance(value, str) else value)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]} …"


def dotted(keys: Iterable[int | str]) -> str:
    """A key path as it is written in TOML; long or unusual parts are quoted and cut.

    >>> dotted(("defenses", 0, "a b"))
    "defenses.0.'a b'"
    """
    return ".".join(
        str(key) if isinstance(key, int) or _BARE.fullmatch(key) else quote(key) for key in keys
    )
