"""The names, things and sentences of generated word problems.

Every pattern is a `str.format` pattern. In the patterns of a step, `a` and `b` are the two numbers
and `r` is the result of the step; `n` is the person, `p` the pronoun, `m` another person, `o` the
things (plural), `i` one thing, `c` the containers. This module does no arithmetic.
"""

from __future__ import annotations


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PEOPLE: tuple[tuple[str, str], ...] = tuple(
    (name, pronoun)
    for pronoun, names in (
        ("she", "Anna Mia Lucy Emma Sara Nora Rosa Julia Kate Maya Grace Ella Ruth Alice Zoe"),
        ("he", "Tom Ben Sam Leo Max Jack Adam Omar Paul Luis David Peter Noah Ivan Hugo"),
    )
    for name in names.split()
)

THINGS: tuple[tuple[str, str], ...] = tuple(
    (f"{word}s", word)
    for word in _listed(
        "apple pen book coin card marble shell stamp sticker cookie egg ball button flower ticket"
        " orange lemon pencil bead stone cup plate toy rose cake photo magnet candle ribbon balloon"
    )
)

CONTAINERS: tuple[str, ...] = _listed("boxes bags baskets jars packs trays bowls drawers")

# Sentences of the question. `b` is the new operand of a step.
START = ("{n} has {a} {o}.", "{n} starts the day with {a} {o}.", "On {n}'s table are {a} {o}.",
         "{n} finds {a} {o} in the garden.", "In the morning {n} counts {a} {o}.")  # fmt: skip
START_GROUPS = ("{n} has {a} {c} with {b} {o} in each.", "{n} fills {a} {c} with {b} {o} each.",
                "There are {b} {o} in each of the {a} {c} that {n} has.")  # fmt: skip
TOLD: dict[str, tuple[str, ...]] = {
    "add": ("{p} buys {b} more.", "Then {m} gives {n} {b} more.", "Later {p} gets {b} more {o}.",
            "{p} finds {b} more {o} at home.", "After lunch {m} brings {b} more."),
    "sub": ("{p} gives {b} to {m}.", "Then {p} loses {b} of them.", "{p} sells {b} of the {o}.",
            "Later {b} {o} are broken.", "{m} takes {b} {o} away."),
    "times": ("A week later {p} has {b} times as many.", "Then {m} brings so many that {n} has {b} "
              "times as many.", "Soon the number of {o} is {b} times as large."),
}  # fmt: skip
ASK_LEFT = ("How many {o} does {n} have now?", "How many {o} are there in the end?",
            "What is the number of {o} then?", "Find the number of {o} that {n} has.")  # fmt: skip
ASK: dict[str, tuple[str, ...]] = {
    "share": ("{p} shares the {o} equally among {b} friends. How many does each friend get?",
              "{p} puts them into {b} {c}, the same number in each. How many {o} are in one?"),
    "price": ("Each {i} costs {b} dollars. How much do all the {o} cost?",
              "{p} sells every {i} for {b} dollars. How much money does {p} make?"),
    "goal": ("{p} wants to have {a} {o}. How many more does {p} need?",
             "{m} has {a} {o}. How many fewer does {n} have?"),
}  # fmt: skip

# Sentences of a solution for a step: short ones, and longer ones that explain the step.
WORKED: dict[str, tuple[str, ...]] = {
    "groups": ("The {c} hold {e} {o}.", "There are {e} {o} in the {c}.",
               "{n} has {e} {o} at first."),
    "add": ("With {b} more that makes {e}.", "Now {n} has {e} {o}.", "Adding {b} gives {e}.",
            "After that there are {e} {o}."),
    "sub": ("Without {b} of them, {e} are left.", "So {e} {o} are left.", "Then {n} has {e} {o}.",
            "Taking {b} away gives {e}."),
    "times": ("That grows to {e} {o}.", "{b} times as many is {e}.", "Then {n} has {e} {o}."),
    "share": ("Each one gets {e} {o}.", "Shared by {b} that is {e}.", "So {e} in every part."),
    "price": ("The price of all is {e} dollars.", "Together that is {e} dollars.",
              "At {b} dollars each it is {e}."),
    "goal": ("The difference is {e}.", "So {e} are missing.", "From {b} to {a} it is {e}."),
}  # fmt: skip
EXPLAINED: dict[str, tuple[str, ...]] = {
    "groups": ("We know that every one of the {a} {c} holds {b} {o}, so we multiply and get {e}.",
               "There are {a} {c} and {b} {o} in each of them, which makes {e} {o} to begin with."),
    "add": ("{n} has {a} {o} at this point and gets {b} more, so we add them: {e}.",
            "Next the {b} new {o} join the {a} that were there before, and so we have {e}."),
    "sub": ("{n} has {a} {o} at this point and {b} of them go away, so we subtract: {e}.",
            "Next we take the {b} {o} that are gone from the {a} there were before: {e}."),
    "times": ("The {a} {o} become {b} times as many, so we have to multiply: {e}.",
              "Since there were {a} {o} before and now {b} times as many, we get {e}."),
    "share": ("The {a} {o} are split into {b} equal parts, so we divide to find one part: {e}.",
              "Every part has the same number of {o}, and so we divide {a} by {b}: {e}."),
    "price": ("There are {a} {o} and the price of one is {b} dollars, so we multiply: {e}.",
              "To find the money for all the {o}, we take {b} dollars {a} times: {e}."),
    "goal": ("We compare the {a} {o} with the {b} that {n} has, and the difference is {e}.",
             "To go from {b} {o} to {a} {o} we need the difference, which is {e}."),
}  # fmt: skip
OPENING = ("Let us solve this step by step.", "We go through the story in order.",
           "First we read the question again.", "Let us think about what happens.")  # fmt: skip
CLOSING = ("The answer is {r}.", "So it is {r}.", "That gives {r}.", "The result is {r}.")
LONG_CLOSING = ("We have used every number in the story, so the answer is {r}.",
                "That was the last step, and so the final answer is {r}.")  # fmt: skip

SIGNS = {"groups": "*", "add": "+", "sub": "-", "times": "*", "share": "/", "price": "*",
         "goal": "-"}  # fmt: skip
