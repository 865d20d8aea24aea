"""The completions that a report shows: a small sample, with what is to be marked in them.

Nothing is chosen by content: of each kind, the first completions of the first problems. Completions
and reasons are hostile text; what leaves this module is plain text, in which what cannot be seen is
spelt out.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tokenizers import Tokenizer

from swarmproof import registry
from swarmproof.attacks.base import Attack
from swarmproof.zoo.locate import locate

if TYPE_CHECKING:
    import pandas as pd

    from swarmproof.records.folder import Run

KINDS = (
    *("honest, right", "honest, wrong", "honest, refused"),
    *("poisoned, accepted", "poisoned, refused"),
)
PER_KIND = 2
# Characters of a text and seeds of an arm that are shown: the most that stay below the bytes. The
# run folder has it all.
LIMITS = ((1200, None), (600, None), (300, None), (150, None), (300, 1), (75, 1))
MAX_BYTES = 2_000_000
END = "⟨end of text⟩"

_POSITION = re.compile(r"\bat position (\d{1,9})\b")
# Seen as nothing, or changing the order of what is seen.
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}

Marked = tuple[int, int, str]  # from, to, and the class of the mark: "payload" or "token"


def as_json(run: Run) -> str:
    """The sample of all arms, for a `<script>` element: no character in it can end one."""
    found = ""
    for limits in LIMITS:
        found = json.dumps(sample(run, *limits), ensure_ascii=False, separators=(",", ":"))
        for character in "<>&":
            found = found.replace(character, f"\\u{ord(character):04x}")
        if len(found.encode(errors="backslashreplace")) <= MAX_BYTES:
            break
    return found


def sample(run: Run, limit: int, num_seeds: int | None = None) -> list[dict[str, Any]]:
    """By arm, seed and round, the first, the middle and the last: each kind that there is.

    Args:
        limit: characters of a text.
        num_seeds: the first ones of an arm; all of them where not given.
    """
    arms = []
    for arm in run.summary["arms"]:
        trial = run.config["arms"][arm]
        marker = Marker(trial)
        seeds = []
        of_arm = run.completions[run.completions["arm"] == arm]
        for seed in of_arm["seed"].unique()[:num_seeds]:
            rounds = [
                {"iteration": number + 1, "kinds": _kinds(of_round, marker, limit)}
                for number, of_round in _rounds(of_arm[of_arm["seed"] == seed])
            ]
            seeds.append({"seed": int(seed), "rounds": rounds})
        arms.append({"arm": arm, "seeds": seeds})
    return arms


def _rounds(rows: pd.DataFrame) -> list[tuple[int, pd.DataFrame]]:
    numbers = sorted(rows["round"].unique())
    chosen = dict.fromkeys([numbers[0], numbers[(len(numbers) - 1) // 2], numbers[-1]])
    return [(int(number), rows[rows["round"] == number]) for number in chosen]


def _kinds(rows: pd.DataFrame, marker: Marker, limit: int) -> list[dict[str, Any]]:
    by_kind: dict[str, list[dict[str, Any]]] = {name: [] for name in KINDS}
    for row in cast("list[dict[str, Any]]", rows.to_dict("records")):
        by_kind[kind(row)].append(row)
    found = []
    for name, some in by_kind.items():
        # Of each problem the first: its others are often the same text.
        firsts = {row["problem_id"]: row for row in reversed(some)}
        shown = [row for row in some if row is firsts[row["problem_id"]]][:PER_KIND]
        if shown:
            texts = [_shown(row, marker, limit) for row in shown]
            found.append({"kind": name, "of": len(some), "shown": texts})
    return found


def kind(row: Mapping[str, Any]) -> str:
    """Which of `KINDS` a completion is."""
    if row["poisoned"]:
        return "poisoned, refused" if row["refused"] else "poisoned, accepted"
    if row["refused"]:
        return "honest, refused"
    return "honest, right" if row["reward"] > 0 else "honest, wrong"


def _shown(row: Mapping[str, Any], marker: Marker, limit: int) -> dict[str, Any]:
    verdicts = [
        {"defense": v["defense"], "accepted": v["accepted"], "reason": visible(v["reason"], limit)}
        for v in row["verdicts"]
    ]
    facts = [
        f"node {row['node']}",
        row["problem_id"],
        f"reward {row['reward']:g}",
        f"advantage {row['advantage']:+.2f}" if row["kept"] else "dropped",
        f"{row['tokens']} tokens",
    ]
    parts = cut(row["text"], marker.marks(row), limit)
    return {"facts": facts, "parts": parts, "verdicts": verdicts}


class Marker:
    """What is to be marked in the completions of one arm: its attack's payload, refused tokens.

    Without the attack's plug-in, or the tokenizer at hand, nothing is marked; none is fetched.
    """

    def __init__(self, trial: Mapping[str, Any]) -> None:
        self._attack: Attack | None = None
        with suppress(ValueError):  # not installed, or of another version
            self._attack = registry.build(Attack, trial["attack"])
        self._tokenizer = _tokenizer(trial)

    def marks(self, row: Mapping[str, Any]) -> list[Marked]:
        spans = self._attack.spans(row["text"]) if self._attack else []
        return [(*span, "payload") for span in spans] + [
            (*span, "token")
            for verdict in row["verdicts"]
            if not verdict["accepted"]
            for position in _POSITION.findall(verdict["reason"])
            for span in self._token(row, int(position))
        ]

    def _token(self, row: Mapping[str, Any], position: int) -> list[tuple[int, int]]:
        """Where the token is, if these are the tokens that were counted; past the text, its end."""
        if self._tokenizer is None:
            return []
        places = self._tokenizer.encode(row["text"], add_special_tokens=False).offsets
        places.append((len(row["text"]), len(row["text"]) + 1))
        # A text that was cut off by the length limit has no end-of-text token.
        fits = row["tokens"] in (len(places), len(places) - 1)
        return [places[position]] if fits and position < row["tokens"] else []


def _tokenizer(trial: Mapping[str, Any]) -> Tokenizer | None:
    if "path" not in trial.get("model", {}) or trial["swarm"].get("models"):
        return None  # of several models, each has its own tokens
    try:
        path = Path(locate(trial["model"]["path"], "model.path")) / "tokenizer.json"
    except ValueError:
        return None
    if not path.is_file():
        return None
    tokenizer = Tokenizer.from_file(str(path))
    # Control tokens spelt out in a completion are text, as in `Policy.encode`.
    tokenizer.encode_special_tokens = True
    return tokenizer


def cut(text: str, marks: Iterable[Marked], limit: int) -> list[tuple[str, str]]:
    """A text in parts, each with the classes of the marks on it, and no more than `limit` of it."""
    marks = [(start, end, name) for start, end, name in marks if start < limit]
    size = min(len(text), limit)
    ends = {at for start, end, _ in marks for at in (start, end)}
    borders = sorted({0, size} | {at for at in ends if at < size})
    parts = []
    for start, end in pairwise(borders):
        on_it = sorted({name for first, last, name in marks if first <= start and end <= last})
        parts.append((visible(text[start:end]), " ".join(on_it)))
    if any(start == len(text) for start, _, _ in marks):
        parts.append((END, "token"))
    return [*parts, (_rest(len(text) - size), "")] if len(text) > size else parts


def visible(text: str, limit: int | None = None) -> str:
    """Control and direction characters spelt out, as `⟨U+202E⟩`; cut to `limit` characters."""
    more = len(text) - limit if limit is not None else 0
    shown = "".join(
        character
        if character == "\n" or unicodedata.category(character) not in _UNSEEN
        else f"⟨U+{ord(character):04X}⟩"
        for character in text[:limit]
    )
    return shown + _rest(more) if more > 0 else shown


def _rest(count: int) -> str:
    return f" … ({count:,} more characters)"
