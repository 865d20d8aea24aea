"""GSM8K answered by programs: the oracle programs come from the marks in its worked solutions.

It knows what `<<48/2=24>>` means and how a chain of such marks becomes a program. `gsm8k` reads the
data, `programs` runs the replies of a model. If the marks alone do not lead to the answer, the
equations without marks are read too. A problem for which that is not enough (algebra, a step in
words only) has no oracle program and is left out. `left_out` counts such problems.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

from pydantic import Field

from swarmproof.registry import register
from swarmproof.tasks import answers
from swarmproof.tasks.base import Split
from swarmproof.tasks.gsm8k import Gsm8k
from swarmproof.tasks.programs import CodeTask
from swarmproof.types import Problem

PROMPT = """\
Write a Python program that computes the answer to the problem and prints it, and nothing else. \
Put it between <code> and </code>, like this:
<code>
pens = 3 + 4
print(pens)
</code>

Problem: {question}
Program:"""

# `<<48/2=24>>24 clips`: the expression, its result, and the words that follow the result.
_MARK = re.compile(r"<<([-+*/(). 0-9]+)=(-?[0-9.]+)>>\s*[$€£]?[0-9.,]*%?((?:\s+[A-Za-z]+){0,3})")
# `50 snowballs / 200 snowballs * 100% = 25%`: the text before the sign, and the number after it.
_WRITTEN = re.compile(
    r"([^=:;,]{3,120}?)=\s*[$€£]?(-?[0-9][0-9,]*\.?[0-9]*)%?((?:\s+[A-Za-z]+){0,3})"
)
_NOT_ARITHMETIC = re.compile(r"[^-+*/().0-9 ]|(?<![0-9])\.(?![0-9])")
_NUMBER = re.compile(r"(?<![\w.])(?:\d+\.?\d*|\.\d+)(?![\w.])")
_DULL = frozenset(
    re.findall(
        "[a-z]+",
        "a an the of in on at to for from with by and or per each more less than as is are was "
        "were it he she they his her their this that so after before total left altogether both "
        "every if then i we you there will would has have had up out all",
    )
)
_MAX_EXPRESSION = 200
_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True, slots=True)
class _Step:
    name: str
    expression: str  # Python, in numbers
    value: float  # of the expression
    sentence: str  # of the solution, without marks


@register("task", "gsm8k_code")
class Gsm8kCode(CodeTask, Gsm8k):
    """Real word problems answered by programs, for base models that write code."""

    keeps_marks: ClassVar[bool] = True

    prompt_template: str = Field(
        default=PROMPT, pattern=r"\{question\}", description="the prompt, with {question}"
    )

    def problems(self, split: Split) -> Sequence[Problem]:
        """Problems of a split as `gsm8k` makes it, without those that have no oracle program.

        Raises:
            ValueError: as for `gsm8k`, or the sandbox is not available here.
        """
        self.sandbox.require()
        return [p for p in map(_with_programs, Gsm8k.problems(self, split)) if p.solutions]

    def left_out(self, split: Split) -> int:
        """The number of problems of a split that have no oracle program."""
        return len(Gsm8k.problems(self, split)) - len(self.problems(split))


@lru_cache(maxsize=20_000)
def _with_programs(problem: Problem) -> Problem:
    return replace(problem, solutions=programs_for(problem.solutions[0], problem.answer))


def programs_for(solution: str, answer: str) -> tuple[str, ...]:
    """Programs that print the answer, from a worked solution with calculator marks.

    Returns:
        Three programs: with variables named after words of the solution, the same with its
        sentences as comments, and with variables named step_1, step_2, … An empty tuple if the
        marks do not lead to the answer.
    """
    marked, all_written = _steps(solution, unmarked=False), _steps(solution, unmarked=True)
    for linked in (_link(marked), marked, _link(all_written), all_written):
        last = _last_line(linked, answer)
        if last is not None:
            used = linked[: last[0] + 1]
            named = [f"{step.name} = {step.expression}" for step in used]
            told = [f"# {step.sentence}\n{line}" for step, line in zip(used, named, strict=True)]
            program = "\n".join([*named, last[1]])
            return program, "\n".join([*told, last[1]]), _by_number(program, used)
    return ()


def _steps(solution: str, unmarked: bool) -> list[_Step]:
    """The computations of a solution in order. With `unmarked`, also those without a mark."""
    steps: list[_Step] = []
    taken: set[str] = set()
    for line in solution.split("\n"):
        sentence = re.sub(r"<<[^<>]*>>", "", line).strip()
        for expression, words in _written(line) if unmarked else _marked(line):
            tree = _parse(expression)
            value = None if tree is None else _evaluate(tree)
            if tree is None or value is None:
                continue
            name = _name(words, taken)
            taken.add(name)
            steps.append(_Step(name, ast.unparse(tree), value, sentence))
    return steps


def _marked(line: str) -> list[tuple[str, str]]:
    return [(mark[1], mark[3]) for mark in _MARK.finditer(line)]


def _written(line: str) -> list[tuple[str, str]]:
    """The expressions of a line's marks, and of its other equations if they are right."""
    # A mark follows the equals sign of the equation that it repeats. It replaces that equation.
    found = []
    for part in re.split(r"(<<[^<>]*>>[$€£]?[0-9.,]*%?(?:\s+[A-Za-z]+){0,3})", line):
        if part.startswith("<<"):
            found += _marked(part)
            continue
        for equation in _WRITTEN.finditer(re.sub(r"(?<=[0-9\s])[x×](?=[0-9\s$])", "*", part)):
            expression = _right_sum(equation[1], equation[2])
            if expression is not None:
                found.append((expression, equation[3]))
    return found


def _right_sum(text: str, claimed: str) -> str | None:
    """The longest end of a text that is an expression with the claimed value."""
    # "In 5 years it is 7 + 5" ends in an expression; the first number is not a part of it.
    words = _NOT_ARITHMETIC.sub(" ", text).split()
    for start in range(len(words)):
        tree = _parse(" ".join(words[start:]))
        value = _evaluate(tree) if isinstance(tree, ast.BinOp) else None
        if value is not None and answers.canonical(claimed) == _canonical(round(value, 9)):
            return " ".join(words[start:])
    return None


def _link(steps: Sequence[_Step]) -> list[_Step]:
    """The same steps, with the number of each earlier result replaced by its name."""
    linked: list[_Step] = []
    for i, step in enumerate(steps):
        # If several results have a value, a solution continues with the latest.
        known = {_canonical(earlier.value): earlier.name for earlier in steps[:i]}

        def name(number: re.Match[str], known: dict[str | None, str] = known) -> str:
            return known.get(answers.canonical(number[0]), number[0])

        linked.append(replace(step, expression=_NUMBER.sub(name, step.expression)))
    return linked


def _last_line(steps: Sequence[_Step], answer: str) -> tuple[int, str] | None:
    """The last step whose value is the answer, and the line that prints it."""
    values = _values(steps)
    for i in reversed(range(len(steps))):
        value, name = values[i], steps[i].name
        if value is None or abs(value) > 1e12:
            continue
        forms: list[tuple[float, str]] = [(value, name)]
        # For any step, only floating-point error (2.3000000000000003) may be rounded away. The last
        # result may really be rounded, as in a solution that counts buses or people.
        last = i == len(steps) - 1
        # Interpreters disagree on a value close to half a cent: `round(2.675, 2)` is 2.67 or 2.68.
        tie = abs(abs(value) * 100 % 1 - 0.5) < 1e-6
        if not tie and (last or abs(value - round(value, 2)) < 1e-9):
            forms.append((round(value, 2), f"round({name}, 2)"))
        if last:
            forms.append((round(value), f"round({name})"))
        for shown, expression in forms:
            if _canonical(shown) == answer:
                return i, f"print({expression})"
    return None


def _values(steps: Sequence[_Step]) -> list[float | None]:
    """The value of each variable. The names in a step are those of earlier steps."""
    values: list[float | None] = []
    known: dict[str, float] = {}
    for step in steps:
        tree = _parse(step.expression)
        value = None if tree is None else _evaluate(tree, known)
        values.append(value)
        if value is not None:
            known[step.name] = value
    return values


def _by_number(program: str, steps: Sequence[_Step]) -> str:
    numbers = {step.name: f"step_{i}" for i, step in enumerate(steps, start=1)}
    return re.sub(r"[A-Za-z_]\w*", lambda word: numbers.get(word[0], word[0]), program)


def _name(words: str, taken: set[str]) -> str:
    """A free variable name from the words that follow a result: `clips`, `clips_2`."""
    plain = [word.lower() for word in words.split()]
    useful = (w for w in plain if w not in _DULL and len(w) > 2)
    name = next(useful, "amount")
    if keyword.iskeyword(name) or hasattr(builtins, name) or name == "calc":
        name = f"{name}_1"
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def _parse(expression: str) -> ast.expr | None:
    # Python does not accept numbers such as 05.
    text = re.sub(r"(?<![\w.])0+(?=\d)", "", expression.strip())
    if len(text) > _MAX_EXPRESSION:
        return None
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _evaluate(tree: ast.expr, names: dict[str, float] | None = None) -> float | None:
    """The value in Python's arithmetic; None if there is more than numbers, names and + - * /."""
    match tree:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return (names or {}).get(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _evaluate(operand, names)
            return None if value is None else -value
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            a, b = _evaluate(left, names), _evaluate(right, names)
            if a is None or b is None or (b == 0 and isinstance(op, ast.Div)):
                return None
            return _OPERATORS[type(op)](a, b)
    return None


def _canonical(value: float) -> str | None:
    return answers.canonical(str(value))
