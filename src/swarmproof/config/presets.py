"""Guards by name: tested combinations of defences, and what a user must know about each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swarmproof import registry
from swarmproof.config.settings import OnReject

# The defence that proves that a refused completion was not the draw of its slot. Only with it may
# an honest receiver fill the slot, because all receivers then refuse the same slots.
PROVES_DRAWS = "replay"


@dataclass(frozen=True, slots=True)
class Preset:
    """A guard as data. Each table says what a refusal does, so that no other setting weakens it."""

    defenses: tuple[Mapping[str, Any], ...]
    why: str  # one line: what it is for
    assumes: tuple[str, ...]
    costs: str
    not_stopped: tuple[str, ...]
    programs: bool = False  # whether it is for answers that are programs


_MAJORITY = (
    "at least three nodes, and more than half of them honest",
    "all nodes have equal shares of the work, and the transport proves who sent what",
)
_SEVERAL = (
    {"name": "signature", "on_reject": "drop"},
    {"name": "novelty", "on_reject": "drop"},
)
_EQUATIONS = {"name": "equations", "mode": "credit", "on_reject": "drop"}
_NOT_SEVERAL = (
    "poison in fewer than about 1 % of a node's completions",
    "white space, and numbers that differ each time: neither is a word",
    "half of the nodes or more acting together: they can frame an honest node",
    "of three nodes, one that copies another: it frames the third",
    "while only two nodes are ever right: one of them with short completions trims the other",
)

PRESETS: Mapping[str, Preset] = {
    "one-model": Preset(
        ({"name": "replay", "near_ties": "redraw", "on_reject": "refill"},),
        "All nodes hold the same weights: every draw is checked, and refused ones are drawn anew.",
        (
            "all nodes hold the same weights, in the same precision",
            "the seed of a slot is derived from the run, and no node can choose it",
            'problems are dealt by address (vertical swarms: swarm.problems = "dealt")',
        ),
        "a noise per candidate token in a pass that is made anyway; each refused slot is drawn "
        "once more by every receiver",
        ("drift where machines differ: at a near tie each receiver learns from its own draw",),
    ),
    "several-models": Preset(
        (
            *_SEVERAL,
            _EQUATIONS,
            {"name": "length_match", "on_reject": "drop"},
        ),
        "Nodes with different models: senders are compared with each other, by text and length.",
        _MAJORITY,
        "counts of words over the texts of a round; no forward pass",
        (*_NOT_SEVERAL, "false statements in words, and true ones that teach a wrong habit"),
    ),
    "several-models-code": Preset(
        (
            *_SEVERAL,
            {"name": "imports", "on_reject": "drop"},
            {"name": "length_match", "on_reject": "drop"},
        ),
        "The same for tasks whose answers are programs.",
        _MAJORITY,
        "counts of words over the texts of a round, and a parse of each program",
        (*_NOT_SEVERAL, "calls that are harmful although the standard library defines them"),
        programs=True,
    ),
    "several-models-judge": Preset(
        ({"name": "judge", "on_reject": "drop"}, _EQUATIONS),
        "A judge reads every rewarded completion; for swarms without an honest majority.",
        ("the judge was calibrated on honest completions of this task",),
        "a forward pass of the judge for each rewarded completion",
        ("needless length", "styles and tricks that the judge accepts"),
    ),
    "trainer": Preset(
        (
            {"name": "logit", "tolerance": 0.25, "on_reject": "drop"},
            {**_EQUATIONS, "programs": "abstain"},
        ),
        "One trainer with rollouts of unknown senders; its own model scores them. Programs too.",
        ("the rollouts come from about the current weights of the trainer's model",),
        "no pass of its own where the trainer gives scores",
        (
            "whatever the model itself finds plausible, such as needless length",
            "in programs, everything else: equations reads statements, and gives no verdict there",
        ),
    ),
    "paper-one-model": Preset(
        ({"name": "logit", "on_reject": "drop"},),
        "The paper's check where all nodes hold the same weights.",
        ("all nodes hold the same weights",),
        "a count of better tokens in a pass that is made anyway",
        (
            "2 + 2 = 5 and needless length",
            "phrases whose tokens are searched until all of them are in the top k",
        ),
    ),
    "paper-any-model": Preset(
        ({"name": "judge", "on_reject": "drop"},),
        "The paper's judge, for any swarm; needs no model of the receiver.",
        ("the judge was calibrated on honest completions of this task",),
        "a forward pass of the judge for each rewarded completion",
        ("needless length", "styles and tricks that the judge accepts"),
    ),
}


def preset(name: str) -> Preset:
    """The preset with this name.

    Raises:
        ValueError: there is no such preset; lists the known ones.
    """
    if name not in PRESETS:
        raise ValueError(
            f"no preset is called {name!r:.60}{registry.did_you_mean(name[:100], PRESETS)}"
        )
    return PRESETS[name]


def require_refillable(defenses: Sequence[Mapping[str, Any]], default: OnReject) -> bool:
    """Whether a refusal may ask for a refill.

    Args:
        defenses: tables of defences.
        default: the rule of those that set none.

    Raises:
        ValueError: it may, and nothing proves draws.
    """
    asking = [t["name"] for t in defenses if (t.get("on_reject") or default) == "refill"]
    if asking and all(table["name"] != PROVES_DRAWS for table in defenses):
        raise ValueError(
            f"on_reject of the defence {asking[0]!r} is 'refill', which needs the defence "
            f"{PROVES_DRAWS!r}: without it receivers do not agree on what to draw; add it, or use "
            "'drop'"
        )
    return bool(asking)
