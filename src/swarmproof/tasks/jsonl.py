"""Reads problems from JSONL files: errors name the file and the line, and no question occurs twice.

It knows nothing of what a record means.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from swarmproof.types import Problem

_BYTE_ORDER_MARK = "\ufeff"


def read(path: Path, remedy: str) -> Iterator[tuple[str, str]]:
    """The lines of a file that are not empty, each after its place, "train.jsonl, line 3".

    A byte-order mark at the start of a line is dropped: a file may have one, and files are joined.

    Args:
        remedy: what to do if there is no such file.

    Raises:
        ValueError: the file cannot be read, or is not UTF-8; one line with the remedy.
    """
    try:
        # Lines end at line feeds only: JSON texts may contain other line separators.
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                where = f"{path}, line {number}"
                try:
                    line = raw.decode().lstrip(_BYTE_ORDER_MARK).strip()
                except UnicodeDecodeError as error:
                    raise ValueError(
                        f"{where}: not UTF-8 (byte {error.start + 1} of the line); save the file "
                        "as UTF-8"
                    ) from None
                if line:
                    yield where, line
    except FileNotFoundError:
        raise ValueError(f"no file {path}; {remedy}") from None
    except OSError as error:
        raise ValueError(
            f"cannot read {path}: {error.strerror}; give a JSONL file in UTF-8"
        ) from None


def texts(line: str, where: str, names: Sequence[str]) -> list[str]:
    """The texts of a JSON object under some names.

    Raises:
        ValueError: the line is not such an object; the message starts with `where`.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where}: not JSON ({error.msg} at character {error.pos + 1}); expected one JSON "
            "object in each line"
        ) from None
    except RecursionError:
        raise ValueError(f"{where}: JSON that is nested too deeply; remove the line") from None
    except ValueError:  # the only other one that `json` raises
        raise ValueError(f"{where}: an integer has too many digits; remove the line") from None
    fields = record if isinstance(record, dict) else {}
    found = [text for name in names if isinstance(text := fields.get(name), str)]
    if len(found) < len(names):
        wanted = " and ".join(f"`{name}`" for name in names)
        raise ValueError(f"{where}: expected a JSON object with texts {wanted}")
    for name, text in zip(names, found, strict=True):
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise ValueError(
                f"{where}: `{name}` contains half of a surrogate pair, which is not a character; "
                "remove it"
            )
    return found


def question_key(question: str) -> str:
    """Equal for questions that differ only in white space, case, Unicode form or what is invisible.

    Such questions count as one: a model that was trained on one of them has seen the other.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", question).casefold())
    return "".join(c for c in folded if not c.isspace() and unicodedata.category(c) != "Cf")


def distinct(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """One problem for each question, in order of first occurrence.

    Of several spellings of a question, the one with the smallest id is kept, so that the order of
    a file does not matter. Of problems with one id, the first is kept.
    """
    kept: dict[str, Problem] = {}
    for problem in problems:
        key = question_key(problem.question)
        if key not in kept or problem.id < kept[key].id:
            kept[key] = problem
    return tuple(kept.values())


def shared(train: Iterable[Problem], test: Iterable[Problem]) -> list[Problem]:
    """The problems of `train` whose questions are in `test` too."""
    held_out = {question_key(problem.question) for problem in test}
    return [problem for problem in train if question_key(problem.question) in held_out]
