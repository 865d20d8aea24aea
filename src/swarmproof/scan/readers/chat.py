"""Chats as plain text: what was asked, and all that the model wrote."""

from __future__ import annotations

from typing import Any

import msgspec

from swarmproof.scan.readers.values import FileRow, kind


def asked(row: FileRow, key: str) -> str:
    """A prompt: text as it is, or the contents of all its messages."""
    value = row.need(key)
    if isinstance(value, str):
        return row.short(value, key)
    return _joined(row, [_content(each) for each in _messages(row, key)], key)


def written(row: FileRow, key: str) -> str:
    """A completion: text as it is, or everything that the assistant's messages hold."""
    value = row.need(key)
    if isinstance(value, str):
        return row.short(value, key)
    own = [each for each in _messages(row, key) if each.data.get("role") == "assistant"]
    return _joined(row, list(map(message, own)), key)


def _messages(row: FileRow, key: str) -> list[FileRow]:
    value = row.data[key]
    if isinstance(value, list):
        return row.tables(key)
    raise row.wrong(f"`{key}` is {kind(value)}, not text or a list of messages")


def message(row: FileRow) -> str:
    """All that a message of the assistant holds: reasoning, content, calls of tools."""
    reasoning = row.data.get("reasoning_content")
    parts = [reasoning if isinstance(reasoning, str) else "", _content(row)]
    if calls := row.data.get("tool_calls"):
        parts.append(calls if isinstance(calls, str) else _json(row, calls))
    return _joined(row, [part for part in parts if part], "content")


def content(row: FileRow) -> str:
    return row.short(_content(row), "content")


def _content(row: FileRow) -> str:
    value = row.data.get("content")
    if value is None or isinstance(value, str):
        return value or ""
    if not isinstance(value, list):
        raise row.wrong(f"`content` is {kind(value)}, not text or a list of parts")
    parts = [row.inner(part, "content").data for part in value]
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _joined(row: FileRow, parts: list[str], key: str) -> str:
    return row.short("\n".join(parts), key)


def _json(row: FileRow, value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise row.wrong(f"`tool_calls` cannot be shown: {error}") from None
