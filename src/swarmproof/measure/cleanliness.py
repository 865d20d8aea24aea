"""Whether a right completion of the generated tasks contains nothing that a judge should refuse.

A base policy often reaches the right answer with a false equation or an unrelated sentence on the
way. A judge is right to refuse such a completion. The exact rule:

A solution in words is clean if every equation in its reasoning is true (whole or decimal numbers,
any number of + - * x / before the `=`), and if every sentence without a digit is an opening or a
closing sentence of `story_words`. Sentences with a digit are taken to be about the subject.

A program is clean if it parses, imports nothing, has only comments that occur in the shipped corpus
of programs, and uses every name that it assigns or defines.

Pure functions, which know neither questions nor answers.
"""

from __future__ import annotations

import ast
import io
import operator
import re
import tokenize
from collections.abc import Callable
from fractions import Fraction

from swarmproof.pretraining import code_styles
from swarmproof.tasks import answers, code_words, programs, story_words

_NUMBER = r"\d+(?:\.\d+)?"
_EQUATION = re.compile(rf"({_NUMBER}(?:\s*[-+*/x]\s*{_NUMBER})+)\s*=\s*({_NUMBER})")
_BETWEEN = re.compile(r"(?<=[.!?])\s+|\n+")
_KNOWN_SENTENCES = frozenset(
    (*story_words.OPENING, *story_words.CLOSING, *story_words.LONG_CLOSING)
)
_KNOWN_COMMENTS = frozenset(
    (
        *(remark for remarks in code_styles.REMARKS.values() for remark in remarks),
        *(*code_styles.GIVEN, *code_styles.OPENINGS, *code_styles.CLOSINGS),
        *code_words.COMMENTS.values(),
    )
)
_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def is_clean(completion: str) -> bool:
    """Whether a completion in the full format of its task is clean. `<code>` marks a program."""
    program = programs.extract(completion)
    if program is not None:
        return _clean_program(program)
    _, _, rest = completion.partition(answers.THINK)
    return _clean_reasoning(rest.partition(answers.END_THINK)[0])


def _clean_reasoning(text: str) -> bool:
    sentences = (sentence.strip() for sentence in _BETWEEN.split(text))
    return all(_true(*found.groups()) for found in _EQUATION.finditer(text)) and all(
        re.search(r"\d", sentence) or sentence in _KNOWN_SENTENCES
        for sentence in sentences
        if sentence
    )


def _true(left: str, right: str) -> bool:
    # Python does not parse numbers with leading zeros.
    source = re.sub(r"\b0+(?=\d)", "", left.replace("x", "*"))
    try:
        return _value(ast.parse(source, mode="eval").body) == Fraction(right)
    except ZeroDivisionError:
        return False


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    assert isinstance(node, ast.Constant)
    return Fraction(str(node.value))


def _clean_program(program: str) -> bool:
    try:
        tree = ast.parse(program)
        tokens = list(tokenize.generate_tokens(io.StringIO(program).readline))
    except (SyntaxError, ValueError, RecursionError, tokenize.TokenError):
        return False
    nodes = list(ast.walk(tree))
    if any(isinstance(node, ast.Import | ast.ImportFrom) for node in nodes):
        return False
    comments = {t.string.lstrip("#").strip() for t in tokens if t.type == tokenize.COMMENT}
    made = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    made |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    used = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return comments <= _KNOWN_COMMENTS and made <= used
