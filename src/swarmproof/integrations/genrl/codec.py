"""What a GenRL node sends in a stage, as bytes: lists of payloads by the id of their question.

msgpack with two types of its own, `Payload` and `WorldState`. Their fields are plain values: None,
bool, 64-bit int, float, str, bytes, lists and mappings of these. Reading calls nothing that a
peer names. Tuples become lists, as in GenRL's own coding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from swarmproof.integrations.configured import missing

try:
    from genrl.communication import Payload
    from genrl.state import WorldState
except ImportError as error:
    if error.name != "genrl":
        raise
    raise missing("genrl", "gensyn-genrl", "pip install gensyn-genrl") from None

VERSION = 1
MAX_DEPTH = 32  # of values within values
MAX_VALUES = 200_000  # in a message, whose texts are one value each
_FIELDS: dict[type, tuple[str, ...]] = {
    Payload: ("world_state", "actions", "metadata"),
    WorldState: ("environment_states", "opponent_states", "personal_states"),
}
_CODES = {Payload: 1, WorldState: 2}
_TYPES = {code: kind for kind, code in _CODES.items()}
_PLAIN = (type(None), bool, int, float, str, bytes)

Sent = dict[str | int, list[Any]]  # question's id -> payloads


def encode(sent: Mapping[Any, Any]) -> bytes:
    """The message of a node.

    Raises:
        ValueError: it is not of this shape, or has a value that is not plain; one line.
    """
    _require_shape(sent)
    return msgspec.msgpack.encode(_Checked(_extension)(sent))


def decode(body: bytes) -> Sent:
    """The payloads in a peer's message.

    Raises:
        ValueError: it is no such message; one line.
    """
    try:
        sent = _decode(body)
        _require_shape(sent)
        return dict(_Checked(_instance)(sent))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError) as error:
        raise ValueError(f"it is no message of payloads: {str(error)[:100]!r}") from None


def _require_shape(sent: Any) -> None:
    if not isinstance(sent, Mapping):
        raise ValueError(f"it is a {type(sent).__name__}, and not payloads by question")  # noqa: TRY004
    for payloads in sent.values():
        if not isinstance(payloads, list) or not all(isinstance(p, Payload) for p in payloads):
            raise ValueError("it has something else than a list of payloads for a question")


def _decode(body: bytes | memoryview) -> Any:
    return msgspec.msgpack.decode(body, ext_hook=_read)


def _read(code: int, data: memoryview) -> Any:
    kind = _TYPES.get(code)
    fields = _decode(data) if kind is not None else None
    if kind is None or not isinstance(fields, list) or len(fields) != len(_FIELDS[kind]):
        raise TypeError(f"an unknown value of type {code}")
    return _instance(kind, fields)


def _extension(kind: type, fields: list[Any]) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(_CODES[kind], msgspec.msgpack.encode(fields))


def _instance(kind: type, fields: list[Any]) -> Any:
    return kind(*fields)


class _Checked:
    """Returns a value if all in it is plain; payloads and states are made by `make`."""

    def __init__(self, make: Callable[[type, list[Any]], Any]) -> None:
        self._make, self._count = make, 0

    def __call__(self, value: Any, place: str = "", depth: int = 0) -> Any:
        def inner(value: Any, where: str) -> Any:
            return self(value, f"{place}{where}"[:80], depth + 1)

        self._count += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"it has values within values, more than {MAX_DEPTH} deep")
        if self._count > MAX_VALUES:
            raise ValueError(f"it has more than {MAX_VALUES} values")
        kind = type(value)
        if kind in _PLAIN:
            return _plain(value, place)
        if kind in (list, tuple):
            return [inner(item, f"[{i}]") for i, item in enumerate(value)]
        if kind in _FIELDS:
            fields = [inner(getattr(value, name), f".{name}") for name in _FIELDS[kind]]
            return self._make(kind, fields)
        return {
            inner(key, ""): inner(item, f".{key}") for key, item in _mapping(value, place).items()
        }


def _mapping(value: Any, place: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(  # noqa: TRY004 - one error for all
            f"{place.lstrip('.')!r} is a {type(value).__name__}; only None, bool, int, float, str, "
            "bytes, lists and mappings are sent"
        )
    if odd := [key for key in value if type(key) not in (str, int)]:
        raise ValueError(f"{place or 'it'} has a key of type {type(odd[0]).__name__}")
    return value


def _plain(value: Any, place: str) -> Any:
    if type(value) is str:  # half a surrogate pair cannot be encoded
        return value.encode("utf-8", "replace").decode()
    if type(value) is int and not -(2**63) <= value < 2**64:
        raise ValueError(f"{place or 'a value'} is an int of more than 64 bits")
    return value
