"""GenRL's payloads as bytes: what it sends comes back, and nothing else is read."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers import package

package("genrl")

from genrl.communication import Payload
from genrl.state import WorldState

from genrl_games import payload, stage
from swarmproof.integrations.genrl import codec

QUESTION = "What is 3 + 4?"


def test_what_genrl_sends_comes_back() -> None:
    before = WorldState({"question": QUESTION}, None, None)
    world = WorldState(
        {"question": QUESTION, "metadata": {"dataset": "mbpp", 3: [1, 2.5, True, None, b"\0"]},
         "prior_stage_input_states": before},
        None,
        "raw",
    )  # fmt: skip
    sent = {"id": [Payload(world, ["a", "b"], {"n": 1}), Payload()], 4: []}
    assert codec.decode(codec.encode(sent)) == sent
    # As GenRL's own coding does.
    assert codec.decode(codec.encode({"id": [payload("q", ("a", "b"))]}))["id"][0].actions == [
        "a",
        "b",
    ]
    # Half a surrogate pair, which a tokenizer can make, cannot be encoded.
    assert codec.decode(codec.encode(stage(("q", ["\ud800!"])))) == stage(("q", ["?!"]))


def deep(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (None, "it is a NoneType"),
        ([payload(QUESTION, [])], "it is a list"),
        ({"id": payload(QUESTION, [])}, "something else than a list of payloads"),
        ({"id": [{"actions": []}]}, "something else than a list of payloads"),
        ({None: []}, "a key of type NoneType"),
        ({"id": [payload(QUESTION, [object()])]}, r"actions\[0\]' is a object; only None, bool"),
        ({"id": [payload(QUESTION, 2**70)]}, "int of more than 64 bits"),
        ({"id": [payload(QUESTION, deep(40))]}, "more than 32 deep"),
        ({"id": [payload(QUESTION, [0] * 200_000)]}, "more than 200000 values"),
    ],
)
def test_what_cannot_be_sent_is_one_line(sent: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        codec.encode(sent)
    assert "\n" not in str(caught.value)


class Runs:
    def __reduce__(self) -> Any:
        return pytest.exit, ("a message was unpickled",)


def ext(code: int, *fields: Any) -> bytes:
    return msgspec.msgpack.encode(
        {"id": [msgspec.msgpack.Ext(code, msgspec.msgpack.encode(list(fields)))]}
    )


def nested(depth: int) -> bytes:
    """World states within world states."""
    inner = b"\xc0"
    for _ in range(depth):
        data = b"\x93" + inner + b"\xc0\xc0"
        inner = b"\xc9" + len(data).to_bytes(4, "big") + b"\x02" + data
    return (
        b"\x81\xa2id\x91\xc9"
        + (len(inner) + 3).to_bytes(4, "big")
        + b"\x01\x93"
        + inner
        + (b"\xc0\xc0")
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"{}",
        pickle.dumps(Runs()),
        msgspec.msgpack.encode([1]),
        msgspec.msgpack.encode({"id": [{"__type__": "Payload", "actions": []}]}),
        msgspec.msgpack.encode({"id": []}) + b"\0",
        msgspec.msgpack.encode({"id": []})[:-1],
        ext(1, None, None),  # a field less
        ext(1, None, None, None, None),
        ext(2, None, None, None),  # no payload
        ext(3, None),
        ext(-1),
        b"\x81\xa2id\x91\xd6\xff\0\0\0\0",  # a time
        b"\x81\xc0\x90",  # a key that is None
        b"\x81\x91\xa1a\x90",  # a key that is a list
        b"\x81\xd4\x01\x90\x90",  # a key that is a payload
        b"\x81\xa2id\x91\xc7\x06\x01\x93\xc0\xa2\xff\xff\xc0",  # no UTF-8
        b"\x91" * 200_000,
        b"\x81\xa2id\xdd\0\x04\0\0" + b"\xc7\x04\x01\x93\xc0\xc0\xc0" * 2**18,
        b"\xdd\xff\xff\xff\xff",  # an array that announces 4 billion items
        nested(40),
        nested(20_000),
    ],
)
def test_what_is_no_message_is_refused_in_one_line(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"^it (is|has) ") as caught:
        codec.decode(body)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
    assert codec.decode(nested(20))  # the control: such a message can be read


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 200), st.binary(max_size=4))
def test_damaged_messages_are_read_or_refused(noise: bytes, at: int, inserted: bytes) -> None:
    whole = codec.encode(stage((QUESTION, ["a", "b"]), ("q", ["c"])))
    for body in (noise, whole[:at] + inserted + whole[at + len(inserted) :]):
        try:
            found = codec.decode(body)
        except ValueError:
            continue
        assert codec.decode(codec.encode(found)) == found or "nan" in repr(found)
