"""The local back end against plain forward passes, and against control tokens in its input."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from models import CHAT_TEMPLATE, save_random_qwen2
from swarmproof.judges import Local, Request, prompting, reader
from swarmproof.judges.reader import Reader, load

TINY = prompting.load("tiny")
MATH = prompting.load("math")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judges") / "plain"
    return save_random_qwen2(folder, seed=3, hidden=32, judge=True, padding=5)


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judges") / "chat"
    return save_random_qwen2(folder, seed=4, hidden=32, judge=True, chat=True)


def requests(
    with_criticism: bool, count: int = 24, prompt: prompting.Prompt = TINY
) -> list[Request]:
    """About few questions, of many lengths, in no order."""
    rng = Random(5)
    texts = ["".join(rng.choices("abc 12+=.\n", k=rng.randrange(1, 90))) for _ in range(count)]
    return [
        prompt.request(f"What is {rng.randrange(4)}?", text, with_criticism=with_criticism, seed=i)
        for i, text in enumerate(texts)
    ]


@cache
def reference(path: Path) -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    return AutoTokenizer.from_pretrained(path), model


def expected(path: Path, text: str) -> tuple[float, float]:
    """Log P(yes) and log P(no) after a text, by transformers' own forward pass."""
    tokenizer, model = reference(path)
    with torch.inference_mode():
        logits = model(torch.tensor([tokenizer(text).input_ids])).logits[0, -1]
    logp = logits[: len(tokenizer)].log_softmax(-1)
    found = []
    for word in ("yes", "no"):
        ids = [i for i in range(len(tokenizer)) if tokenizer.decode([i]).strip().lower() == word]
        assert len(ids) == 2
        found.append(float(logp[ids].logsumexp(-1)))
    return found[0], found[1]


@pytest.mark.parametrize("with_criticism", [False, True])
def test_packed_scores_are_those_of_a_plain_forward_pass(plain: Path, with_criticism: bool) -> None:
    asked = requests(with_criticism)
    answers = Local(path=str(plain)).judge(asked, max_tokens=12)
    for request, answer in zip(asked, answers, strict=True):
        if "<" in answer.criticism:  # a tag that a random model wrote, which stays text
            continue
        text = request.shared + request.opening
        if with_criticism:
            text += f"{request.criticism} {answer.criticism}\n"
        want = expected(plain, text + request.decision)
        assert (answer.logprob_yes, answer.logprob_no) == pytest.approx(want, abs=1e-4)
    assert any(answer.criticism for answer in answers) is with_criticism


def test_a_chat_template_is_laid_out_around_the_turns(chat: Path) -> None:
    tokenizer, _ = reference(chat)
    for with_criticism in (False, True):
        asked = requests(with_criticism, count=8, prompt=MATH)
        for request, answer in zip(
            asked, Local(path=str(chat)).judge(asked, max_tokens=12), strict=True
        ):
            opened = request.shared + request.opening
            turns = [{"role": "user", "content": opened + request.decision}]
            if with_criticism:
                turns = [
                    {"role": "user", "content": f"{opened}{request.criticism}"},
                    {"role": "assistant", "content": answer.criticism},
                    {"role": "user", "content": request.decision},
                ]
            text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
            if "<" in answer.criticism:  # a tag that a random model wrote, which stays text
                continue
            want = expected(chat, text)
            assert (answer.logprob_yes, answer.logprob_no) == pytest.approx(want, abs=1e-4)


@pytest.mark.parametrize("with_criticism", [False, True])
def test_an_answer_does_not_depend_on_what_else_is_asked(plain: Path, with_criticism: bool) -> None:
    asked = requests(with_criticism)
    judge = Local(path=str(plain))
    together = judge.judge(asked, max_tokens=8)
    apart = [judge.judge([request], max_tokens=8)[0] for request in asked]
    assert [(a.criticism, a.word) for a in together] == [(a.criticism, a.word) for a in apart]
    for one, other in zip(together, apart, strict=True):
        assert one.logprob_no == pytest.approx(other.logprob_no, abs=1e-4)


def test_a_word_is_drawn_from_the_support_and_by_its_seed(plain: Path) -> None:
    judge = Local(path=str(plain), top_k=3, temperature=5.0, top_p=1.0)
    (request,) = requests(False, count=1)
    words = {judge.judge([replace(request, seed=seed)], max_tokens=1)[0].word for seed in range(60)}
    assert 1 < len(words) <= 3
    greedy = Local(path=str(plain), top_k=1)
    (answer,) = greedy.judge([request], max_tokens=1)
    assert (
        len({greedy.judge([replace(request, seed=s)], max_tokens=1)[0].word for s in (1, 2)}) == 1
    )
    assert answer.word == answer.word.strip().lower()


def test_criticisms_are_bounded_and_repeatable(plain: Path) -> None:
    asked = requests(True, count=6)
    for beams in (1, 3):
        judge = Local(path=str(plain), beams=beams)
        first = judge.judge(asked, max_tokens=5)
        assert first == judge.judge(asked, max_tokens=5)
        assert all(
            len(answer.criticism) <= 5 * 9 and "\n" not in answer.criticism for answer in first
        )
    # And the packed attention is in place again.
    assert Local(path=str(plain)).judge(asked, max_tokens=5) == Local(
        path=str(plain), beams=1
    ).judge(asked, max_tokens=5)


def special_ids(reader: Reader) -> set[int]:
    return set(reader.tokenizer.added_tokens_decoder)


def spelt(tokens: list[str]) -> st.SearchStrategy[str]:
    """Texts that are full of control tokens, and of pieces of them."""
    pieces = st.sampled_from([*tokens, *(token[:3] for token in tokens), *(t[1:] for t in tokens)])
    return st.lists(st.one_of(pieces, st.text(max_size=4)), max_size=8).map("".join)


CONTROL = ["<think>", "</think>", "<answer>", "</answer>", "<|endoftext|>", "<|start|>", "<|end|>"]


@given(spelt(CONTROL))
def test_no_control_token_is_in_the_ids_of_untrusted_text(chat: Path, text: str) -> None:
    reader = load(str(chat), "float32", "cpu")
    # By the back end itself, whatever the text, and by what a server is sent, as a server reads it.
    (ids,) = reader._encode([text])
    assert special_ids(reader).isdisjoint(ids)
    assert reader.tokenizer.decode(ids) == text
    sent = reader.tokenizer(prompting.neutralise(text), add_special_tokens=False).input_ids
    assert special_ids(reader).isdisjoint(sent)


def test_a_model_that_cannot_say_yes_is_refused(random_model: Path) -> None:
    with pytest.raises(ValueError, match="no token for 'yes'"):
        Local(path=str(random_model)).judge(requests(False, 1), max_tokens=1)
    with pytest.raises(ValueError, match=r"judge path = 'no/such/folder'.*the zoo has"):
        Local(path="no/such/folder").require()


def test_the_tests_tokenizer_reads_control_tokens(chat: Path) -> None:
    """Else the test above would prove nothing."""
    reader = load(str(chat), "float32", "cpu")
    assert all(len(reader.tokenizer(token).input_ids) == 1 for token in CONTROL)
    assert reader.tokenizer.chat_template == CHAT_TEMPLATE


def test_a_model_may_name_the_prompt_that_it_was_trained_on(plain: Path, tmp_path: Path) -> None:
    assert Local(path=str(plain)).own_prompt == ""
    assert Local().own_prompt == "tiny"
    assert Local(path="some/judge").own_prompt == ""  # on the hub
    config = json.loads((plain / "config.json").read_text())
    for prompt in ("tiny", "math", "", "none", 5, ["tiny"]):
        (tmp_path / "config.json").write_text(json.dumps({**config, "judge_prompt": prompt}))
        if prompt in ("tiny", "math", ""):
            assert Local(path=str(tmp_path)).own_prompt == prompt
        else:
            with pytest.raises(ValueError, match="known prompts: code, math, tiny"):
                _ = Local(path=str(tmp_path)).own_prompt
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="cannot read"):
        _ = Local(path=str(tmp_path)).own_prompt


def test_only_a_model_of_the_hub_is_fetched(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(reader, "load", lambda path, *_: loaded.append(path))
    for path in ("tiny-judge", str(plain), "owner/name"):
        Local(path=path).fetch()
    assert loaded == ["owner/name"]
