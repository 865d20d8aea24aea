"""What a run shows, in a sentence or two with its numbers.

Reads the summary and the config; looks for an unprotected attack, the same swarm without it, and
the same attack against defences.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swarmproof.report.table import percent, success


def headline(summary: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Sentences in plain text; one per defended arm after that of the attack."""
    arms = summary["arms"]
    setup = {name: config["arms"][name] for name in arms}
    attacked = [n for n, t in setup.items() if t["swarm"]["malicious"] and not t["defenses"]]
    defended = [n for n, t in setup.items() if t["swarm"]["malicious"] and t["defenses"]]
    quiet = [n for n, t in setup.items() if not t["swarm"]["malicious"]]
    sentences = []
    for name in attacked[:1]:
        swarm = setup[name]["swarm"]
        attack = setup[name]["attack"].get("name", "attack")
        nodes = f"{swarm['malicious']} malicious of {swarm['nodes']} nodes"
        without = f" (without it: {_asr(arms[quiet[0]])})" if quiet else ""
        sentences.append(
            f"With {nodes} and no defence, the {attack} attack ends at {_asr(arms[name])}"
            f"{without}, while accuracy goes from "
            f"{percent(arms[name]['accuracy']['first'])} to "
            f"{percent(arms[name]['accuracy']['final'])}."
        )
    for name in defended:
        arm = arms[name]
        defenses = " + ".join(table.get("name", "?") for table in setup[name]["defenses"])
        sentences.append(
            f"Under {defenses} it ends at {_asr(arm)}: "
            f"{percent(arm['refused']['poisoned']['rate'])} of what malicious nodes sent and "
            f"{percent(arm['refused']['honest']['rate'])} of the honest completions were refused; "
            f"accuracy ends at {percent(arm['accuracy']['final'])}."
        )
    return sentences or [
        f"{name}: {_asr(arm)}, accuracy {percent(arm['accuracy']['final'])}."
        for name, arm in arms.items()
    ]


def _asr(arm: Mapping[str, Any]) -> str:
    final = success(arm["asr"])
    is_ratio = arm["asr"].get("unit") == "ratio"
    return f"{final} the first length" if is_ratio else f"{final} success"
