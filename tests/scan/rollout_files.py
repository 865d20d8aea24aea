"""One small file of every format, as its writer would write it: 2 steps of 2 prompts, 4 each."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

STEPS, PROMPTS, SIZE = 2, 2, 4


@dataclass(frozen=True)
class Said:
    step: int
    prompt: str
    index: int
    text: str
    reward: float
    advantage: float

    @property
    def ids(self) -> list[int]:
        return [100 + self.index, 7, 8, 9]

    @property
    def logprobs(self) -> list[float]:
        return [-0.5, -0.25, -1.0, -0.125 * self.index]


SAID = [
    Said(
        step,
        f"What is {prompt} + 1?",
        index,
        f"{prompt} + 1 is {prompt + 1 + index}. Step {step}, é.",
        float(index == 0),
        1.5 if index == 0 else -0.5,
    )
    for step in range(1, STEPS + 1)
    for prompt in range(PROMPTS)
    for index in range(SIZE)
]


def answer(said: Said) -> str:
    return str(int(said.prompt.split()[2]) + 1)


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def verl_row(said: Said) -> dict[str, Any]:
    return {
        "input": said.prompt,
        "output": said.text,
        "gts": answer(said),
        "score": said.reward,
        "step": said.step,
    }


def verl(folder: Path) -> Path:
    for step in range(1, STEPS + 1):
        rows = [
            verl_row(said) | {"uid": f"uid-{said.step}-{said.prompt[8]}_0_{said.index}"}
            for said in SAID
            if said.step == step
        ]
        write_lines(folder / f"{step}.jsonl", rows)
    return folder


def verl_legacy(folder: Path) -> Path:
    """Without uid, with keys of the reward function, shuffled over the step's groups."""
    for step in range(1, STEPS + 1):
        own = [said for said in SAID if said.step == step]
        own.sort(key=lambda said: said.index)
        extra = {"acc": True, "request_id": "r"}
        write_lines(folder / f"{step}.jsonl", [verl_row(said) | extra for said in own])
    return folder


def trace(said: Said) -> dict[str, Any]:
    return {
        "id": f"trace-{said.step}-{said.prompt[8]}-{said.index}",
        "task": {"type": "T", "data": {"prompt": said.prompt, "answer": answer(said)}},
        "agent": {"name": "solver", "trainable": True, "config": {}},
        "nodes": [
            {
                "message": {"role": "user", "content": said.prompt},
                "sampled": False,
                "token_ids": [1, 2, 3],
                "mask": [False] * 3,
                "logprobs": [],
            },
            {
                "parent": 0,
                "message": {"role": "assistant", "content": said.text},
                "sampled": True,
                # The template's part first, as verifiers writes it.
                "token_ids": [5, *said.ids],
                "mask": [False] + [True] * 4,
                "logprobs": said.logprobs,
                "advantages": [said.advantage] * 4,
            },
        ],
        "calls": [{"node": 1, "finish_reason": "stop"}],
        "rewards": {"right": {"score": said.reward, "weight": 2.0}, "style": {"score": 0.0}},
        "metrics": {},
        "info": {},
        "ok": True,
        "errors": [],
    }


def episode(said: Said) -> dict[str, Any]:
    return {
        "id": f"episode-{said.step}-{said.prompt[8]}-{said.index}",
        "env": {"id": "gsm8k", "name": "gsm8k"},
        "task": {"type": "T", "data": {"prompt": said.prompt, "answer": answer(said)}},
        "group": {"id": f"{said.step}-{said.prompt[8]}"},
        "run": {"type": "train", "id": "r", "work": {"type": "train", "step": said.step}},
        "ok": True,
        "errors": [],
        "traces": [trace(said)],
    }


def verifiers(folder: Path) -> Path:
    """The folder of prime-rl, which writes what it trained on a second time."""
    for step in range(1, STEPS + 1):
        for part in ("all", "effective"):
            write_lines(
                folder / f"step_{step}/train/{part}/traces.jsonl",
                [episode(said) for said in SAID if said.step == step],
            )
    return folder


def results(folder: Path) -> Path:
    rows: list[dict[str, Any]] = [
        {
            "example_id": f"{said.step}-{said.prompt[8]}",
            "prompt": [{"role": "user", "content": said.prompt}],
            "completion": [{"role": "assistant", "content": said.text}],
            "answer": answer(said),
            "info": {},
            "reward": said.reward,
            "error": None,
            "is_truncated": said.index == 3,
        }
        for said in SAID
    ]
    return write_lines(folder / "results.jsonl", rows)


def trl_frame(step: int) -> pd.DataFrame:
    own = [said for said in SAID if said.step == step]
    return pd.DataFrame(
        {
            "step": [said.step for said in own],
            "prompt": [said.prompt for said in own],
            "completion": [said.text for said in own],
            "right": [said.reward for said in own],
            "guard/refused": [said.index == 3 for said in own],
            "guard/defence": ["logit" if said.index == 3 else "" for said in own],
            "guard/reason": ["improbable" if said.index == 3 else "" for said in own],
            "advantage": [said.advantage for said in own],
        }
    )


def trl(folder: Path) -> Path:
    (folder / "completions").mkdir(parents=True)
    for step in range(1, STEPS + 1):
        trl_frame(step).to_parquet(folder / f"completions/completions_{step:05d}.parquet")
    return folder


def art(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for step in range(1, STEPS + 1):
        rows: list[dict[str, Any]] = [
            {
                "group_index": int(said.prompt[8]),
                "reward": said.reward,
                "metrics": None,
                "messages": [
                    {"role": "system", "content": "Think.", "trainable": False},
                    {"role": "user", "content": said.prompt, "trainable": False},
                    {"role": "assistant", "content": said.text, "trainable": True},
                ],
            }
            for said in SAID
            if said.step == step
        ]
        pd.DataFrame(rows).to_parquet(folder / f"{step:04d}.parquet")
    return folder


def sample(said: Said) -> dict[str, Any]:
    return {
        "group_index": int(said.prompt[8]),
        "index": said.index,
        "prompt": said.prompt,
        "tokens": [1, 2, 3, *said.ids],
        "response": said.text,
        "response_length": 4,
        "label": answer(said),
        "reward": said.reward,
        "loss_mask": [1, 1, 1, 1],
        "rollout_log_probs": said.logprobs,
        "status": "truncated" if said.index == 3 else "completed",
        "remove_sample": said.index == 2,
        "metadata": {},
    }


def slime(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for step in range(1, STEPS + 1):
        samples = [sample(said) for said in SAID if said.step == step]
        torch.save({"rollout_id": step, "samples": samples}, folder / f"rollout_{step}.pt")
    return folder


def lm_eval(folder: Path) -> Path:
    rows = [
        {
            "doc_id": number,
            "doc": {"question": said.prompt},
            "target": answer(said),
            "arguments": {"gen_args_0": {"arg_0": said.prompt, "arg_1": {"until": []}}},
            "resps": [[said.text]],
            "filtered_resps": [said.text[6]],
            "filter": name,
            "metrics": ["exact_match"],
            "doc_hash": "a",
            "prompt_hash": "b",
            "target_hash": "c",
            "exact_match": said.reward,
        }
        for name in ("strict-match", "flexible-extract")
        for number, said in enumerate(SAID)
    ]
    return write_lines(folder / "samples_gsm8k_2026-11-26.jsonl", rows)


def inspect_samples() -> list[dict[str, Any]]:
    return [
        {
            "id": f"{said.step}-{said.prompt[8]}",
            "epoch": said.index + 1,
            "input": [{"role": "user", "content": said.prompt}],
            "target": answer(said),
            "messages": [],
            "output": {
                "model": "m",
                "choices": [
                    {
                        "message": {
                            "role": "assistant",
                            "content": [{"type": "text", "text": said.text}],
                        },
                        "stop_reason": "max_tokens" if said.index == 3 else "stop",
                    }
                ],
            },
            "scores": {"match": {"value": "C" if said.reward else "I", "answer": "4"}},
            "metadata": {},
        }
        for said in SAID
    ]


def inspect_json(folder: Path) -> Path:
    folder.mkdir(parents=True)
    log = {"version": 2, "status": "success", "eval": {"task": "t"}, "samples": inspect_samples()}
    path = folder / "2026-11-26_gsm8k.json"
    path.write_text(json.dumps(log, indent=2))
    return path


def inspect_eval(folder: Path) -> Path:
    folder.mkdir(parents=True)
    path = folder / "log.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"version": 2, "status": "success"}))
        for each in inspect_samples():
            archive.writestr(f"samples/{each['id']}_epoch_{each['epoch']}.json", json.dumps(each))
    return path


def sidecar(folder: Path) -> Path:
    rows = [
        {
            "id": f"s{number}",
            "step": said.step,
            "group": said.prompt[8],
            "sender": said.index,
            "prompt": said.prompt,
            "completion": said.text,
            "reward": said.reward,
            "guard/refused": said.index == 3,
            "guard/defence": "logit" if said.index == 3 else "",
            "guard/score": 4.0 if said.index == 3 else None,
            "guard/reason": "improbable" if said.index == 3 else "",
        }
        for number, said in enumerate(SAID)
    ]
    return write_lines(folder / "guard.jsonl", rows)


WRITERS: dict[str, Callable[[Path], Path]] = {
    "verl": verl,
    "verl-legacy": verl_legacy,
    "verifiers": verifiers,
    "results": results,
    "trl": trl,
    "art": art,
    "slime": slime,
    "lm-eval": lm_eval,
    "inspect-json": inspect_json,
    "inspect-eval": inspect_eval,
    "sidecar": sidecar,
}
