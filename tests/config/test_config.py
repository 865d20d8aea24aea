"""An experiment as data: every mistake is one line that names the key and the remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from swarmproof import config, registry
from swarmproof.config import TrialConfig, load

BASE = """
rounds = 3
seeds = [4, 2]
task = { name = "math_words", train = 100 }
swarm = { nodes = 4, malicious = 1 }
batch = { problems = 8, group_size = 4 }
attack = { name = "text", phrase = "hello" }
"""


def write(folder: Path, *lines: str) -> str:
    path = folder / "mine.toml"
    path.write_text("\n".join([BASE, *lines]), encoding="utf-8")
    return str(path)


@pytest.fixture
def simple(tmp_path: Path) -> str:
    return write(tmp_path, "[arms.a]", "[arms.b]", "swarm = { malicious = 0 }")


def told(path: str, **changes: Any) -> str:
    """The one line that a mistake is told in; empty if there is none."""
    try:
        load(path, **changes)
    except ValueError as error:
        # pydantic's own error is a ValueError too, of many lines.
        return f"{error}" if type(error) is ValueError else f"\n{error}"
    return ""


def mistake(path: str, **changes: Any) -> str:
    line = told(path, **changes)
    assert line, "nothing was found wrong"
    assert "\n" not in line
    return line


def settings_of(table: type[BaseModel]) -> list[str]:
    return list(table.model_fields)


TABLES = {
    name: field.annotation
    for name, field in TrialConfig.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
# Every setting of every table, and every parameter of the plug-ins that ship.
KEYS = [f"{table}.{key}" for table, model in TABLES.items() for key in model.model_fields]
PLUGINS = [
    (where, name, parameter)
    for where, kind in (
        ("task", "task"),
        ("attack", "attack"),
        ("defenses", "defense"),
        ("generator", "generator"),
    )
    for name, plugin in registry.plugins(kind).items()  # type: ignore[arg-type]
    if plugin.__module__.startswith("swarmproof.")
    for parameter in plugin.model_fields
]


@pytest.mark.parametrize("key", [*settings_of(TrialConfig), *KEYS])
def test_a_misspelt_setting_is_named_with_the_right_one(simple: str, key: str) -> None:
    wrong, right = f"{key}x", key.rpartition(".")[2]
    assert f"{wrong}: unknown setting" in (line := mistake(simple, overrides=[f"{wrong}=1"]))
    assert f"did you mean {right!r}?" in line


@pytest.mark.parametrize(("where", "name", "parameter"), PLUGINS)
def test_a_misspelt_parameter_of_a_plug_in_is_named_with_the_right_one(
    simple: str, where: str, name: str, parameter: str
) -> None:
    table = f"{{name = '{name}', {parameter}x = 1}}"
    value, at = (f"[{table}]", "defenses.0") if where == "defenses" else (table, where)
    line = mistake(simple, overrides=[f"{where}={value}"])
    assert line.startswith(f"{at}.{parameter}x: unknown setting; did you mean {parameter!r}?")


@pytest.mark.parametrize("key", settings_of(TrialConfig))
def test_a_misspelt_table_in_the_file_is_named_with_the_right_one(tmp_path: Path, key: str) -> None:
    at_the_top = write(tmp_path, f"{key}x = 1", "[arms.a]")
    assert f"did you mean {key!r}" in mistake(at_the_top)
    in_an_arm = write(tmp_path, "[arms.a]", "[arms.b]", f"{key}x = 1")
    assert f"unknown setting '{key}x'; did you mean {key!r}" in mistake(in_an_arm, arms=["a"])


@pytest.mark.parametrize("key", ["title", "seeds", "claim", "name"])
def test_a_misspelt_setting_of_the_experiment_is_named_with_the_right_one(
    tmp_path: Path, key: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"{key}x = 1\n{BASE}\n[arms.a]", encoding="utf-8")
    assert f"did you mean {key!r}" in mistake(str(path))


def test_a_misspelt_setting_inside_an_arm_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "[arms.a]", "swarm = { malicous = 0 }")
    assert mistake(path).startswith("swarm.malicous: unknown setting; did you mean 'malicious'?")
    path = write(tmp_path, "[arms.a]", "attack = { phrases = 'x' }")
    assert mistake(path).startswith("attack.phrases: unknown setting; did you mean 'phrase'?")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("rounds=0", "rounds: .*greater than or equal to 1 .*got 0"),
        ("rounds=many", "rounds: .*integer.*got 'many'"),
        ("swarm.nodes=0", "swarm.nodes: "),
        ("swarm.malicious=-1", "swarm.malicious: .*greater"),
        ("swarm.topology=diagonal", "swarm.topology: .*'horizontal' or 'vertical'.*'diagonal'"),
        ("batch.group_size=1", "batch.group_size: .*greater than or equal to 2"),
        ("batch.problems=1000000000000", "batch.problems: .*less than"),
        ("sampling.temperature=0", "sampling.temperature: .*greater than or equal to 0.0001"),
        ("sampling.top_p=1.5", "sampling.top_p: .*less than or equal to 1"),
        ("sampling.max_new_tokens=99999999999999999999", "max_new_tokens: .*less than"),
        ("grpo.lr=-1e-4", "grpo.lr: .*greater than 0"),
        ("grpo.lr=inf", "grpo.lr: .*finite"),
        ("grpo.lr=nan", "grpo.lr: .*finite"),
        ("grpo.on_reject=ignore", "grpo.on_reject: .*'drop', .* or 'void_node'"),
        ("grpo.clip=1", "grpo.clip: "),
        ("model.dtype=float64", "model.dtype: .*'float32' or 'bfloat16'"),
        ("model.device=gpu", "model.device: .*cpu.*got 'gpu'"),
        ("attack.phrase=", "attack.phrase: .*match pattern"),
        ("attack.poisoned_share=0", "attack.poisoned_share: .*greater than 0"),
        ("attack.name=txet", "attack: no attack is called 'txet'; did you mean 'text'"),
        ("exchange.name=pigeon", "exchange: no exchange is called 'pigeon' .*memory"),
        ("generator.name=vlm", "generator: no generator is called 'vlm'; did you mean 'vllm'"),
        ("generator={name='vllm', cache_gb=0}", "generator.cache_gb: .*greater than 0"),
        ("attack={phrase='x'}", None),
        ("defenses=[{}]", "defenses.0: the defense has no `name`; known: .*logit"),
        ("defenses=[{name='logit', tolerance=-1}]", "defenses.0.tolerance: .*greater"),
        ("defenses=[{name='logit'}, {name='logit'}]", "logit is listed twice"),
        ("defenses=logit", "defenses: .*got 'logit'"),
        ("swarm=3", "swarm: .*got 3"),
        ("swarm.nodes.x=3", "swarm.nodes: .*integer"),
        ("arms.b.rounds=3", "arms: unknown setting"),
        ("seeds=3", "seeds is not a setting of an arm.*--seeds"),
        ("rounds", "write it as key=value"),
        ("=3", "write it as key=value"),
        ("swarm..nodes=3", "write it as key=value"),
    ],
)
def test_a_wrong_value_is_named_with_its_bound(
    simple: str, override: str, words: str | None
) -> None:
    if words is None:
        load(simple, overrides=[override])
    else:
        assert re.search(words, mistake(simple, overrides=[override]))


def test_work_that_does_not_divide_names_what_would(simple: str) -> None:
    line = mistake(simple, overrides=["swarm.nodes=3"])
    assert "batch.group_size = 4" in line
    assert "nodes may be 1, 2, 4" in line
    line = mistake(simple, overrides=["swarm.topology=vertical", "swarm.nodes=3"])
    assert "batch.problems = 8" in line
    assert "nodes may be 1, 2, 4, 8" in line


def test_somebody_is_honest(simple: str) -> None:
    assert "malicious is 4 of 4 nodes" in mistake(simple, overrides=["swarm.malicious=4"])
    load(simple, overrides=["swarm.malicious=3"])


def test_arms_lay_their_settings_on_the_shared_ones(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "[arms.plain]",
        "[arms.phrase]",
        "attack = { poisoned_share = 0.25 }",
        "[arms.other-task]",
        "task = { name = 'gsm8k', holdout = 7 }",
        "[arms.same-task]",
        "task = { name = 'math_words', test = 9 }",
    )
    arms = load(path).arms
    assert list(arms) == ["plain", "phrase", "other-task", "same-task"]
    assert arms["plain"].attack == {"name": "text", "phrase": "hello"}
    assert arms["phrase"].attack == {"name": "text", "phrase": "hello", "poisoned_share": 0.25}
    # Another plug-in shares no parameters with the one that it replaces.
    assert arms["other-task"].task == {"name": "gsm8k", "holdout": 7}
    assert arms["same-task"].task == {"name": "math_words", "train": 100, "test": 9}
    assert {arm.rounds for arm in arms.values()} == {3}


def test_the_name_of_an_arm_may_have_a_dot(tmp_path: Path) -> None:
    path = write(tmp_path, '[arms."kl-0.1"]', "grpo = { beta = 0.1 }")
    (arm,) = config.load(path, arms=["kl-0.1"], overrides=["rounds=9"]).arms.values()
    assert (arm.grpo.beta, arm.rounds) == (0.1, 9)


def test_overrides_come_after_the_settings_of_an_arm(simple: str) -> None:
    arms = load(simple, overrides=["swarm.malicious=2", "swarm.nodes=4", "rounds=9"]).arms
    assert [arm.swarm.malicious for arm in arms.values()] == [2, 2]
    assert [arm.rounds for arm in arms.values()] == [9, 9]
    assert load(simple).arms["b"].swarm.malicious == 0


@pytest.mark.parametrize(
    ("override", "phrase"),
    [
        ("attack.phrase=All hail to the thief", "All hail to the thief"),
        ("attack.phrase='quoted = fine'", "quoted = fine"),
        ("attack.phrase=a = b", "a = b"),
        ("attack.phrase = x", "x"),
    ],
)
def test_a_bare_word_is_a_string(simple: str, override: str, phrase: str) -> None:
    assert load(simple, overrides=[override]).arms["a"].attack["phrase"].strip() == phrase


def test_arms_and_seeds_can_be_chosen(simple: str) -> None:
    chosen = load(simple, arms=["b"], seeds=(7,))
    assert (list(chosen.arms), chosen.seeds) == (["b"], (7,))
    assert load(simple).seeds == (4, 2)
    assert load(simple).name == "mine"


def test_an_unknown_arm_lists_the_known_ones(simple: str) -> None:
    assert "no arm 'c' (known: a, b)" in mistake(simple, arms=["c"])


def test_a_misspelt_experiment_is_answered_with_the_closest_and_not_with_all() -> None:
    with pytest.raises(ValueError, match="did you mean 'text-vertical' or") as caught:
        config.find("text-vertica")
    line = str(caught.value)
    assert len(line) < 250
    assert line.count("text-") <= 5
    assert "`swarmproof list experiments` shows all" in line
    with pytest.raises(ValueError, match=r"no experiment is called 'qqq'; `swarmproof list"):
        config.find("qqq")


def test_an_unknown_experiment_names_the_closest() -> None:
    line = mistake("text-horizontl")
    assert "did you mean 'text-horizontal'" in line
    assert "ends in .toml" in line
    assert "no file" in mistake("nowhere/mine.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rounds = = 3", "not valid TOML"),
        ("x = " + "[" * 5000, "not valid TOML"),
        ("x = " + "9" * 5000, "not valid TOML"),
        ("", "has no arms"),
        ("arms = 3", "has no arms"),
        ("[arms]\nx = 3", "arms.x must be a table"),
        ("[arms.'../../x']", "an arm cannot be called"),
        ("[arms.'']", "an arm cannot be called"),
        ("[arms.kl-0.1]", r'needs quotes: \[arms."kl-0.1"\]'),
        ("rounds = 3\n[arms.x]", "task: this setting is missing"),
        (f"{BASE}\n[arms.x]".replace("[4, 2]", "[]"), "seeds: .*at least 1"),
        (f"{BASE}\n[arms.x]".replace("[4, 2]", "[1, 1]"), "seeds: a seed is listed twice"),
        (f"{BASE}\n[arms.x]".replace("[4, 2]", "[-1]"), "seeds.0: .*greater than or equal to 0"),
    ],
)
def test_a_file_that_is_no_experiment_is_an_error(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    assert re.search(words, mistake(str(path)))


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe")
    assert "not valid TOML" in mistake(str(path))


# Their figures have no curve of a judge, and an arm takes hours.
WITHOUT_JUDGE = {
    f"small/{name}"
    for name in ("equation-self-judge", "length-horizontal", "text-baselines", "text-participation")
}


@pytest.mark.parametrize("name", sorted(config.shipped()))
def test_every_shipped_experiment_loads_with_all_its_arms(name: str) -> None:
    experiment = load(name)
    assert experiment.name == Path(name).name
    assert experiment.title
    assert experiment.claim
    defended = [table["name"] for arm in experiment.arms.values() for table in arm.defenses]
    assert ("judge" in defended) is (name not in WITHOUT_JUDGE)
    if name.endswith("-participation"):
        counts = [arm.swarm.nodes for arm in experiment.arms.values() if not arm.defenses]
        assert all(arm.swarm.malicious == 1 for arm in experiment.arms.values())
        assert len(counts) == 4
        assert counts == sorted(counts)
        return
    assert {"no-attack", "attack"} <= set(experiment.arms)
    # An arm without attack still measures the success of the attack that it is compared with.
    assert experiment.arms["no-attack"].swarm.malicious == 0
    assert experiment.arms["no-attack"].attack == experiment.arms["attack"].attack


JUNK = st.one_of(
    st.text(max_size=30),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["[]", "{}", "[[]]", "{name=[]}", "{name={}}", "[{name='logit'}]", '"a\\nb"']),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([*settings_of(TrialConfig), *KEYS, "attack.phrase", "task.train"]), JUNK)
def test_junk_is_taken_or_told_in_one_line(simple: str, key: str, junk: str) -> None:
    line = told(simple, overrides=[f"{key}={junk}"])
    assert "\n" not in line
    assert len(line) < 500


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40))
def test_any_override_is_taken_or_told_in_one_line(simple: str, override: str) -> None:
    assert "\n" not in told(simple, overrides=[override])


def test_a_config_with_our_own_generator_is_what_it_was(simple: str) -> None:
    for same in ((), ["generator.name=packed"]):
        arm = load(simple, overrides=same).arms["a"]
        assert arm.generator == {"name": "packed"}
        assert "generator" not in arm.model_dump(mode="json")
    other = load(simple, overrides=["generator.name=vllm"]).arms["a"]
    assert other.model_dump(mode="json")["generator"] == {"name": "vllm"}
    assert TrialConfig.model_validate(other.model_dump(mode="json")) == other
