"""The completions that a report shows: a small sample of a run, as data for the page's browser.

Of each arm and seed: the first, the middle and the last iteration, and in attacked arms the most
recent one in which an honest node wrote the poison. Of each kind in an iteration: the first
completions of the first problems. Nothing else is chosen by content. Completions, reasons and names
are hostile text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from swarmproof.report.marks import Marker, cut, visible

if TYPE_CHECKING:
    import pandas as pd

    from swarmproof.records.run import Run

CONVERTED = "honest, writes the poison"
MALICIOUS = "malicious"
KINDS = (CONVERTED, MALICIOUS, "honest, right", "honest, wrong")
PER_KIND = 2  # of those refused, and of those not refused
# Characters of a text, and seeds of an arm. The first pair is taken that keeps the page's data
# below `MAX_BYTES`; the run folder has everything.
LIMITS = ((1200, None), (600, None), (300, None), (150, None), (300, 1), (75, 1))
MAX_BYTES = 2_000_000


def as_json(run: Run) -> str:
    """The sample of all arms, for a `<script>` element: no character in it can end one."""
    found = ""
    # They remember what they found, which takes most of the time in a big run.
    markers = {arm: Marker(run.config["arms"][arm]) for arm in run.summary["arms"]}
    for limits in LIMITS:
        found = json.dumps(sample(run, markers, *limits), ensure_ascii=False, separators=(",", ":"))
        for character in "<>&":
            found = found.replace(character, f"\\u{ord(character):04x}")
        if len(found.encode(errors="backslashreplace")) <= MAX_BYTES:
            break
    return found


def sample(
    run: Run, markers: Mapping[str, Marker], limit: int, num_seeds: int | None = None
) -> dict[str, Any]:
    """What the browser shows: `arms`, and in `open` where it starts (None where nothing is there).

    Args:
        markers: by arm.
        limit: characters of a text.
        num_seeds: the first seeds of an arm; all of them if None.
    """
    arms = []
    for arm in run.summary["arms"]:
        marker = markers[arm]
        attacked = bool(run.config["arms"][arm]["swarm"]["malicious"])
        seeds: list[dict[str, Any]] = []
        of_arm = run.completions[run.completions["arm"] == arm]
        for seed, rows in of_arm.groupby("seed", sort=False):
            if num_seeds is not None and len(seeds) == num_seeds:
                break
            rounds = [
                {"iteration": number + 1, "kinds": _kinds(of_round, marker, limit)}
                for number, of_round in _rounds(rows, marker, attacked=attacked)
            ]
            seeds.append({"seed": int(cast(int, seed)), "rounds": rounds})
        arms.append({"arm": arm, "seeds": seeds})
    return {"arms": arms, "open": _opening(arms, run.config["arms"])}


def _rounds(
    rows: pd.DataFrame, marker: Marker, *, attacked: bool
) -> list[tuple[int, pd.DataFrame]]:
    numbers = sorted(int(number) for number in rows["round"].unique())
    chosen = {numbers[0], numbers[(len(numbers) - 1) // 2], numbers[-1]}
    by_round = dict(tuple(rows.groupby("round")))
    for number in reversed(numbers if attacked else []):
        of_round = by_round[number]
        honest = of_round.loc[~of_round["poisoned"].astype(bool), "text"]
        if any(marker.poisons(text) for text in honest):
            chosen.add(number)
            break
    return [(number, by_round[number]) for number in sorted(chosen)]


def _kinds(rows: pd.DataFrame, marker: Marker, limit: int) -> list[dict[str, Any]]:
    found: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for row in cast("list[dict[str, Any]]", rows.to_dict("records")):
        found.setdefault((kind(row, marker), bool(row["refused"])), []).append(row)
    tables = []
    for name in KINDS:
        for refused in (False, True):
            some = found.get((name, refused), [])
            # The first of each problem: the others are often the same text.
            firsts = {row["problem_id"]: row for row in reversed(some)}
            shown = [row for row in some if row is firsts[row["problem_id"]]][:PER_KIND]
            if shown:
                texts = [_shown(row, marker, limit) for row in shown]
                head = {"kind": name, "refused": refused, "of": len(some)}
                tables.append({**head, "shown": texts})
    return tables


def kind(row: Mapping[str, Any], marker: Marker) -> str:
    """Which of `KINDS` a completion is; malicious is who sent it, whatever the text is."""
    if row["poisoned"]:
        return MALICIOUS
    if marker.poisons(row["text"]):
        return CONVERTED
    return "honest, right" if row["reward"] > 0 else "honest, wrong"


def _opening(arms: list[dict[str, Any]], trials: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where the browser starts.

    The most recent iteration in which an honest node of an attacked arm wrote the poison; else the
    last one with completions of malicious nodes; else the first arm. Arms without defences first.
    """
    attacked = [one for one in arms if trials[one["arm"]]["swarm"]["malicious"]]
    attacked.sort(key=lambda one: bool(trials[one["arm"]]["defenses"]))
    for wanted in (CONVERTED, MALICIOUS):
        for one in attacked:
            places = [
                (each["iteration"], seed["seed"])
                for seed in one["seeds"]
                for each in seed["rounds"]
                if any(found["kind"] == wanted for found in each["kinds"])
            ]
            if places:
                iteration, seed = max(places, key=lambda place: place[0])
                return {"arm": one["arm"], "seed": seed, "iteration": iteration, "kind": wanted}
    for one in arms:
        for seed in one["seeds"]:
            last = seed["rounds"][-1]["iteration"]
            return {"arm": one["arm"], "seed": seed["seed"], "iteration": last, "kind": None}
    return None


def _shown(row: Mapping[str, Any], marker: Marker, limit: int) -> dict[str, Any]:
    verdicts = [
        {
            "defense": visible(str(verdict["defense"]), limit),
            "accepted": verdict["accepted"],
            "reason": visible(verdict["reason"], limit),
        }
        for verdict in row["verdicts"]
    ]
    who = "malicious" if row["poisoned"] else "honest"
    facts = [
        f"from node {row['node']} ({who})",
        visible(row["problem_id"], limit),
        f"reward {row['reward']:g}",
        f"advantage {row['advantage']:+.2f}" if row["kept"] else "dropped from its group",
        f"{row['tokens']} tokens",
    ]
    return {
        "facts": facts,
        "question": visible(row["question"], limit),
        "answer": visible(row["answer"], limit),
        "parts": cut(row["text"], marker.marks(row), limit),
        "verdicts": verdicts,
    }
