"""Right programs in further styles, and programs with a fault, for the wide corpus (`judge_wide`).

`code_styles` and `snippets` have others; they are a part of the corpora of the coders, and stay as
they are. What judges are tested on (`judge_unseen_words`) is not here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from swarmproof.pretraining import faults, judge_strays, prose, snippets
from swarmproof.pretraining.faults import Faulty
from swarmproof.pretraining.prose import pick
from swarmproof.tasks import stories

_ASSIGNMENT = re.compile(r"^(\w+ = )(\w+) (\*|//?|[+-]) (\w+)$", re.MULTILINE)
_PRINT = re.compile(r"print\((\w+)\)$")
_NAMES = ("n{i}", "x{i}", "v{i}", "val_{i}", "count{i}", "amount_{i}", "num{i}", "s{i}", "r{i}",
          "value_{i}", "after_{i}", "part{i}", "{o}_{i}", "{o}{i}", "total_{i}",
          "t{i}")  # fmt: skip
_LETTERS = ("abcdefg", "xyzuvwt", "pqrstuv", "ABCDEFG", "klmnopq")
_PRINTS = ("result = {v}\nprint(result)", "answer = {v}\nprint(answer)", "res = {v}\nprint(res)",
           "print(({v}))", "print(round({v}))", "print({v}, sep='')", "print(abs({v}))",
           "ans = {v}\nprint(ans)", "total = {v}\nprint(total)", "\nprint({v})",
           "solution = {v}\nprint(solution)", "print({v} + 0)", "x = {v}\nprint(x)",
           "out = {v}\nprint(out)", "print('%s' % {v})", "print('{{}}'.format({v}))", "print(+{v})",
           "print({v}, end='\\n')", "for number in [{v}]:\n    print(number)",
           "def main():\n    print({v})\nmain()")  # fmt: skip
# By what a line does.
_COMMENTS = {
    "given": ("given", "given number", "from the story", "from the question", "known", "a number",
              "we need this", "step {i}", "the story says so", "about {o}"),
    "computed": ("compute", "calculate", "step {i}", "Step {i}", "new value", "we need this",
                 "work it out", "next value", "from the story", "about {o}", "{n}'s {o}"),
    "+": ("new total", "put together", "with the new ones", "sum"),
    "-": ("what is left", "the difference", "compute the rest"),
    "*": ("product", "so many times", "total number"),
    "/": ("equal parts", "one part", "quotient"),
    "printed": ("print the answer", "show the result", "the answer", "the result", "done", "output",
                "the question", "how many {o}", "last step", "in the end"),
}  # fmt: skip
_STATEMENTS = (
    'note = "{s}"', 'print("{s}", end="")', '"""{s}"""', "'''{s}'''", '"{s}"', "{f} = '{f}'",
    "while False:\n    {f}()", "os.system('{f}')", "exec('{f} = {k}')", "sys.exit(0)", "del {f}",
    "subprocess.run(['{f}'])", "open('{f}.txt').read()", "requests.get('http://{f}.org')",
    "{f} = [{k}, {k}]", "{f} = {{'{f}': {k}}}", "{f} = None", "{f} = input('{f}?')", "{f}.{f}()",
    "{f} = {f}", "{f} += 1", "{f} = True", "{f}({k})", "{f}.{f}({k}, {k})", "return {f}", "pass",
    "class {F}:\n    {f} = {k}", "def {f}():\n    pass", "def {f}(x):\n    return x",
    "async def {f}():\n    pass", "import {f}", "from {f} import {f}", "from {f}.{f} import {f}",
    "import {f} as {f}", "from . import {f}", "global {f}",
    "if {k} > {k}:\n    {f} = {k}",
    "for {f} in range({k}):\n    pass", "{f} = lambda: {k}",
    "try:\n    {f}()\nexcept Exception:\n    pass",
    "if False:\n    import {f}", "logging.info('{s}')", "setattr({f}, '{f}', {k})", "assert {f}",
    "eval('{f}')", "token = '{f}{k}'", "# {s}", "# {s}", "# {s}", "#{s}", "## {s}", "# {o}",
    "# {o}",
)  # fmt: skip
_SLOT = re.compile(r"\{(\w)\}")


def restyle(rng: Random, story: stories.Story, written: Sequence[str]) -> str:
    """One of the task's four programs with some changes of style. The output stays the same."""
    program = re.sub(r"  # .*", "", pick(rng, (*written, written[0], written[3])))
    names = dict.fromkeys(re.findall(r"^(\w+) [-+*/]*= ", program, re.MULTILINE))
    fill = story.fields
    if names and rng.random() < 0.5:
        letters = pick(rng, _LETTERS)
        scheme, first = pick(rng, _NAMES), rng.randrange(2)
        by_letter = rng.random() < 0.4
        for i, name in enumerate(names):
            new = letters[i] if by_letter else scheme.format_map({**fill, "i": i + first})
            program = re.sub(rf"\b{name}\b", f"_new_{i}_{new}", program)
        program = re.sub(r"_new_\d+_", "", program)
    if rng.random() < 0.4:
        printed = pick(rng, _PRINTS)
        program = _PRINT.sub(lambda found: printed.format(v=found[1]), program)
    if rng.random() < 0.35:
        share = pick(rng, (0.3, 0.6, 1.0))
        program = _commented(rng, program, fill, share)
    if rng.random() < 0.08:
        program = re.sub(r"= (\w+ (?:\*|//?|[+-]) \w+)$", r"= (\1)", program, flags=re.MULTILINE)
    if rng.random() < 0.08:
        program = re.sub(r" ([-+*/=]+) ", r"\1", program)
    if rng.random() < 0.06:
        program = program.replace("\n", "\n\n")
    return program.strip("\n")


def _commented(rng: Random, program: str, fill: stories.Fields, share: float) -> str:
    lines = []
    above = rng.random() < 0.5
    for i, line in enumerate(program.split("\n")):
        text = pick(rng, _comments(line)).format_map({**fill, "i": i + 1})
        if rng.random() < 0.3:
            text = text[0].upper() + text[1:]
        if not line or rng.random() > share:
            lines.append(line)
        elif above:
            lines += [f"# {text}", line]
        else:
            lines.append(f"{line}  # {text}")
    return "\n".join(lines)


def _comments(line: str) -> tuple[str, ...]:
    """What may be said of a line."""
    if "print(" in line:
        return _COMMENTS["printed"]
    signs = re.findall(r"[-+*/](?=/?=? )", line)  # `//` is two, and gets no words of its own
    if not signs:  # a number, or a new name for the result
        return _COMMENTS["given" if re.search(r"= \d+$", line) else "computed"]
    return (*_COMMENTS["computed"], *(_COMMENTS[signs[0]] if len(signs) == 1 else ()))


def faulty(
    rng: Random, program: str, written: Sequence[str], story: stories.Story
) -> Faulty | None:
    """A program with unrelated lines, or with calls of functions from elsewhere."""
    roll = rng.random()
    if roll < 0.3:
        return faults.foreign_calls(rng, pick(rng, (written[0], written[3])))
    if roll < 0.45:
        return _undefined(rng, pick(rng, (written[0], written[3])))
    if roll < 0.7:
        return faults.stray_lines(
            rng, program, lambda: judge_strays.about(rng, story), lambda: judge_strays.order(rng)
        )
    stray = _statement(rng)
    lines = program.split("\n")
    place = pick(rng, (0, len(lines), rng.randint(0, len(lines))))
    start = len("".join(f"{line}\n" for line in lines[:place]))
    lines.insert(place, stray)
    return faults.told("\n".join(lines), start, stray)


def _statement(rng: Random) -> str:
    def fill(slot: re.Match[str]) -> str:
        return {
            "s": lambda: judge_strays.stray(rng).replace('"', "").replace("'", ""),
            "o": lambda: judge_strays.order(rng).replace("\n", " "),
            "f": lambda: _name(rng), "F": lambda: prose.made_up(rng).title(),
            "k": lambda: str(rng.randint(0, 99)),
        }[slot[1]]()  # fmt: skip

    pattern = pick(rng, _STATEMENTS)
    return _SLOT.sub(fill, pattern).replace("{{", "{").replace("}}", "}")


def _undefined(rng: Random, program: str) -> Faulty | None:
    """Operations by functions that nobody has defined or imported."""
    program = re.sub(r"  # .*", "", program)
    name = _name(rng)
    if rng.random() < 0.3:
        name = f"{_name(rng)}.{name}"
    found = _ASSIGNMENT.search(program)
    if found is None:
        return None
    text = _ASSIGNMENT.sub(rf"\1{name}(\2, \4)", program, count=pick(rng, (0, 1)))
    start = found.end(1)
    return faults.told(text, start, text[start:].split("\n")[0])


def _name(rng: Random) -> str:
    roll = rng.random()
    verb = pick(rng, prose.VERBS).removesuffix("s")
    if roll < 0.4:
        return prose.made_up(rng).lower()
    if roll < 0.6:
        return verb
    if roll < 0.8:
        return f"{verb}_{pick(rng, prose.NOUNS)}"
    return pick(rng, (snippets.any_module(rng), pick(rng, prose.NOUNS), f"my_{verb}", f"{verb}2"))
