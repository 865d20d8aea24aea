"""What a run measured, in sentences: one paragraph per arm.

Each paragraph names its arm, attack and defences, and compares only with arms of this run that have
the same settings otherwise. Nothing is compared with an unfinished arm.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from swarmproof.exchange.net.plugin import liars_of
from swarmproof.report.pairs import quiet, undefended
from swarmproof.report.table import percent, success

_LONGEST = 40  # letters of a setting


def headline(
    summary: Mapping[str, Any], config: Mapping[str, Any], states: Mapping[str, str]
) -> dict[str, str]:
    """Arm -> its paragraph in plain text, in the order of the summary.

    Args:
        states: of `states.of_arms`.
    """
    return {
        arm: _paragraph(arm, summary["arms"], config["arms"], states) for arm in summary["arms"]
    }


def _paragraph(
    name: str,
    arms: Mapping[str, Any],
    trials: Mapping[str, Any],
    states: Mapping[str, str],
) -> str:
    arm, trial, state = arms[name], trials[name], states[name]
    verb = "is at" if state else "ends at"
    accuracy = arm["accuracy"]
    setup = _setup(trial, trials)
    sentences = [f"{setup}; {state}." if state else f"{setup}."]
    if liars := liars_of(trial.get("exchange", {})):
        told = ", ".join(f"node {node} ({kind})" for node, kind in sorted(liars.items()))
        sentences.append(f"These nodes lie to their peers: {told}.")
    if arm["asr"]["final"] is None:
        sentences.append(f"The {_attack(trial)} measure applied to no completion.")
    else:
        against = _against(name, arms, trials, states)
        sentences.append(f"{_success(trial, arm, verb)}{against}.")
    if trial["defenses"]:
        sentences.append(_refused(arm["refused"]))
    if accuracy["final"] is not None:
        first, final = percent(accuracy["first"]), percent(accuracy["final"])
        sentences.append(
            f"Accuracy was {first} at first and is at {final}."
            if state
            else f"Accuracy goes from {first} to {final}."
        )
    return " ".join(sentences)


def _setup(trial: Mapping[str, Any], trials: Mapping[str, Any]) -> str:
    swarm, attack = trial["swarm"], trial["attack"]
    alike = [t["attack"] for t in trials.values() if t["attack"].get("name") == attack.get("name")]
    # Its settings only where arms of the same attack differ in them.
    words = f"The {_attack(trial)} attack"
    words += _settings(attack) if any(other != attack for other in alike) else ""
    who = f"{words} by {swarm['malicious']} of {swarm['nodes']} nodes"
    names = " + ".join(f"{t.get('name', '?')}{_settings(t)}" for t in trial["defenses"])
    return (who if swarm["malicious"] else "No malicious nodes") + (
        f", defended by {names}" if names else ", no defence"
    )


def _settings(table: Mapping[str, Any]) -> str:
    """The settings of a plug-in as the file has them: ` (limit = 48)`."""
    told = [f"{key} = {_short(value)}" for key, value in table.items() if key != "name"]
    return f" ({', '.join(told)})" if told else ""


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


def _attack(trial: Mapping[str, Any]) -> str:
    return str(trial["attack"].get("name", "unnamed"))


def _success(trial: Mapping[str, Any], arm: Mapping[str, Any], verb: str) -> str:
    final = success(arm["asr"])
    if arm["asr"].get("unit") == "ratio":
        ratio = final.removesuffix("×").strip()
        return f"The mean length {verb} {ratio} times that of the first iteration"
    if trial["swarm"]["malicious"]:
        return f"Attack success {verb} {final}"
    return f"The measure of the {_attack(trial)} attack {verb} {final}"


def _against(
    name: str,
    arms: Mapping[str, Any],
    trials: Mapping[str, Any],
    states: Mapping[str, str],
) -> str:
    """The same swarm without defences, and without malicious nodes, where both are finished."""
    if not trials[name]["swarm"]["malicious"] or states[name]:
        return ""
    found = []
    for other, words in (
        (undefended(trials, name) if trials[name]["defenses"] else None, "without defences"),
        (quiet(trials, name), "without malicious nodes"),
    ):
        if other is None or other not in arms:
            continue
        if not states[other] and arms[other]["asr"]["final"] is not None:
            found.append(f"{success(arms[other]['asr'])} {words} ({other})")
    return f", against {' and '.join(found)}" if found else ""


def _refused(refused: Mapping[str, Any]) -> str:
    told = [
        f"{percent(refused[kind]['rate'])} of the completions of {who} nodes"
        for kind, who in (("poisoned", "malicious"), ("honest", "honest"))
        if refused[kind]["of"]
    ]
    return f"Refused: {' and '.join(told)}." if told else "No completion was gathered."
