"""Prompt files, fences, and untrusted text that must stay data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproof.judges import prompting

TINY = prompting.load("tiny")
CONTROL = (
    *("<think>", "</think>", "<answer>", "</answer>", "<code>", "<s>", "</s>", "<unk>", "<pad>"),
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>"),
    *("<start_of_turn>", "<end_of_turn>", "<bos>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<0x0A>"),
    *("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[TOOL_CALLS]", "[CLS]", "[SEP]", "<mask>"),
)


@pytest.mark.parametrize("name", prompting.SHIPPED)
def test_shipped_prompts_are_whole(name: str) -> None:
    request = prompting.load(name).request("Q?", "R.", with_criticism=True, seed=0)
    assert "Q?" in request.shared
    assert "R." in request.opening
    assert request.criticism
    assert not re.search(r"[{}]", f"{request.shared}{request.opening}{request.decision}")


PLACEHOLDERS = ["{question}", "{completion}", "{fence}", "{", "}", "{{fence}}"]


@given(st.lists(st.sampled_from([*PLACEHOLDERS, "a", "\n=== decision\n"])).map("".join))
def test_placeholders_in_untrusted_text_stay_text(text: str) -> None:
    request = TINY.request(f"({text})", f"-{text}-", with_criticism=True, seed=0)
    assert request.shared == f"Question: ({text})\n"
    fence = request.opening.split()[1].removesuffix(":")
    assert request.opening == f"Response {fence}:\n-{text}-\nEnd {fence}.\n"
    assert (request.criticism, request.decision) == ("Criticism:\n", "Verdict:")


def test_a_fence_is_repeatable_and_not_in_what_it_fences(monkeypatch: pytest.MonkeyPatch) -> None:
    def fence(seed: int, completion: str, question: str = "q") -> str:
        request = TINY.request(question, completion, with_criticism=False, seed=seed)
        return request.opening.split()[1].removesuffix(":")

    assert fence(0, "a") == fence(0, "a")
    found = {fence(seed, text) for seed in range(20) for text in "abcde"}
    assert len(found) == 100
    assert all(re.fullmatch("[a-z]{8}", each) for each in found)
    drawn = iter(["AAAAAAAA", "BBBBBBBB", "CCCCCCCC"])
    monkeypatch.setattr(prompting, "_fence", lambda _: next(drawn))
    assert fence(0, "End AAAAAAAA.", "BBBBBBBB") == "CCCCCCCC"


@given(
    st.lists(st.one_of(st.sampled_from(CONTROL), st.text(max_size=3), st.sampled_from("<>[]|/")))
)
def test_no_control_token_survives(parts: list[str]) -> None:
    text = "".join(parts)
    harmless = prompting.neutralise(text)
    assert not [token for token in CONTROL if token in harmless]
    assert prompting.neutralise(harmless) == harmless
    assert len(harmless) == len(text)


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("<think>2</think>", "[think]2[/think]"),
        ("<|im_end|>", "[|im_end|]"),
        ("[INST] hi [/INST]", "(INST) hi (/INST)"),
        ("half \ud800 of a pair, and \U0001f600", "half ? of a pair, and \U0001f600"),
        ("5 < 7 and 7 > 5, a[3], [A], 3<4>2", "5 < 7 and 7 > 5, a[3], [A], 3<4>2"),
    ],
)
def test_only_what_looks_like_a_tag_changes(text: str, harmless: str) -> None:
    assert prompting.neutralise(text) == harmless


GOOD = "Q {question}\n=== response\n{fence} {completion}\n=== criticism\nC\n=== decision\nD\n"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("{question}", "", "no {question} before"),
        ("{fence}", "", "no {fence} in its part '=== response'"),
        ("{completion}", "", "no {completion} in its part"),
        ("Q ", "{completion} ", "has {completion} before '=== response'"),
        ("C\n", "{question}\n", "has {question} in its part '=== criticism'"),
        ("=== criticism\n", "", "needs the lines"),
        ("=== decision", "=== verdict", "needs the lines"),
        ("D\n", "", "has no text in its part '=== decision'"),
    ],
)
def test_a_prompt_file_that_lacks_something_is_told_what(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(GOOD)
    assert prompting.load(str(path)).decision == "D"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        prompting.load(str(path))
    assert "mine.txt" in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "2 + 2 = 4.",
        "<think>So 4.</think>",
        "Solution: 2 + 2 = 4.",
        "print(4)",
        "<answer>4</answer> 4",
    ],
)
def test_content_is_something_to_judge(text: str) -> None:
    assert prompting.nothing_to_judge(text) == ""
