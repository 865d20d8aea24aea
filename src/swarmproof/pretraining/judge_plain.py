"""Right solutions in ordinary English, and with sums in words, for a judge to accept.

A sentence is an opening, a clause, the equation and an ending, from lists of some hundred parts, so
that the judge learns which words belong to a solution and not which sentences. `judge_corpus` has
further wordings, mostly bad English. The sentences on which judges are tested
(`judge_unseen_words`) are not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random

from swarmproof.pretraining import judge_words, spoken
from swarmproof.pretraining.prose import pick
from swarmproof.tasks import stories
from swarmproof.tasks.stories import Step


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|"))


# What a sentence is put together from: openings, clauses and endings. The key says where they are
# true: everywhere, by the place of the step among the steps, or by its kind.
_PARTS = {
    "any": (
        _listed(
            "So|Now|Consequently|Accordingly|As a consequence|For this reason|Because of this|"
            "At this moment|At this stage of the story|In this case|In this situation|Step by step|"
            "Keeping this in mind|Bearing that in mind|With this information|With these values|"
            "With these figures|With the given values|From the given numbers|"
            "From the given information|From the problem|From the problem statement|"
            "From the description|According to the problem|According to the text|"
            "As stated in the problem|As described|As given|As mentioned|Based on the question|"
            "In light of that|Looking at the numbers|Looking at the question|"
            "Looking at what happens|Reading the question|Reading carefully|Thinking about it|"
            "Thinking it over|Working out the numbers|Working it out|Calculating|Calculating this|"
            "Computing the value|Doing the calculation|Doing the arithmetic|"
            "Carrying out the operation|Counting everything|Counting all of them|"
            "Taking this into account|To find how many there are|To work this out|To compute this|"
            "To get the result|To determine this|To figure this out|In order to find this|"
            "In order to solve it|For this we compute|For the result|In that way|In this manner|"
            "Like this|Hence|Thus|Therefore|Clearly|Obviously|Naturally|Evidently|Certainly|Surely|"
            "Indeed|Simply|Basically|Essentially|Exactly|Precisely|Alternatively|"
            "Overall that makes|In all that makes|All told|When all is counted|When we calculate|"
            "When we count|If we calculate that|If we count them|Let's see|Let's calculate|"
            "Let's compute|Let us calculate|Let us compute|Let us count|Let us now find|"
            "Let me compute|Let me count|Let me calculate|Well|Alright|All right|Good|Great|Fine|"
            "Yes|Now then|You see|We know|Remember that|Recall that|Notice that|Observe that|"
            "Note here that|Suppose we count|Consider this|Checking|Double checking|To check|"
            "To be sure|To be exact|More precisely|In numbers|As an equation|As a formula|"
            "Written out|Written as an equation|In mathematical terms"
        ),
        _listed(
            "|||we get|we get|we have|we have|we find|we obtain the value|we reach|we arrive at|"
            "we end up with|we calculate|we compute|we determine|we work out|we count|we see|"
            "we know|we learn|we can say|we can calculate|we can find|we can work out|"
            "we need to compute|we have to compute|we must calculate|we should get|we would have|"
            "we are now at|we come to|we now get|we now have|we therefore have|"
            "we therefore get|we simply get|we just need|we just take|you get|you have|you find|"
            "you will find|you can calculate|one gets|one finds|one has|I get|I find|I calculate|"
            "I count|I have|it is|it is now|it becomes|it makes|it equals|it gives|it must be|"
            "it has to be|it will be|it would be|it comes out as|it turns out to be|it results in|"
            "it amounts to|this is|this makes|this gives|this gives us|this becomes|this equals|"
            "this means|this results in|this amounts to|this comes to|this tells us|this shows|"
            "this should be|this must be|this can be computed as|this is equal to|that is|"
            "that makes|that makes it|that gives|that gives us|that becomes|that equals|that means|"
            "that results in|that comes out to|that must be|there are|there are now|there will be|"
            "there must be|there would be|the result is|the result is now|the result becomes|"
            "the result will be|the number is|the new number is|the number of {o} is|"
            "the number of {o} is now|the number of {o} becomes|the amount is|the amount of {o} is|"
            "the new amount is|the answer to this part is|the value is|the value becomes|"
            "the equation is|the calculation is|the computation is|the operation is|the formula is|"
            "the expression is|the count is|the count is now|the count becomes|the new count is|"
            "the current number is|the current amount is"
        ),
        _listed(
            "|||||||{o}|{o}|{o}|{o}|{o} now|{o} for {n}|now|at this point|after this|for {n}|"
            "for now|here|exactly|as a result|as the result|as the number of {o}|of the {o}|"
            "in this step|for this step|as stated|as described|as needed|as required|as expected|"
            "according to the problem|according to the question|when counted|"
            "which is what we need|which is the number we need"
        ),
    ),
    "first": (
        _listed(
            "First|At the beginning|In the beginning|To start off|To get started|For starters|"
            "First of all|First off|As a first step|For the first part"
        ),
        (),
        (),
    ),
    "second": (
        _listed("Secondly|In the second step|For the second part|As a second step"),
        (),
        (),
    ),
    "third": (_listed("Thirdly|In the third step|As a third step"), (), ()),
    "later": (
        _listed(
            "Next|Then|After that|Afterwards|Following that|Subsequently|Since then|"
            "One step further|Going one step further|Taking the next step|With that done|"
            "That being done|Once that is done|Knowing this|Knowing that|Having found this|"
            "Having computed that|As we found before|As noted earlier|As a next step|"
            "As mentioned before|Based on this|Based on that|On this basis|Reasoning further|"
            "Calculating further|Carrying on"
        ),
        _listed("we then get|we then have|{n} then has"),
        _listed("then|{o} then|after that|afterwards"),
    ),
    "not last": (
        (),
        (),
        _listed(
            "so far|{o} so far|which we use next|for the next step|which we need for the next step|"
            "and we continue from there|and we keep that number"
        ),
    ),
    "last": (
        _listed(
            "Lastly|Last of all|In the final step|For the last part|As a last step|Finally|"
            "Eventually|Ultimately|In the end|To find the answer|To answer the question|"
            "Answering the question|In summary|To summarise"
        ),
        _listed(
            "we finally get|the answer is|the answer becomes|the solution is|the final value is|"
            "the final number is|the final amount is"
        ),
        _listed("in the end|at the end|which is what we are looking for|and this is the result"),
    ),
    "groups": (
        _listed("Originally|Initially|Multiplying these|Multiplying both numbers|When we multiply|"
                "If we multiply"),
        _listed("the product is|the total is|{n} has|{n} holds|{n} owns|{n} started with"),
        _listed("by multiplication|{o} in total|in all|at first|at the start|{o} altogether"),
    ),
    "add": (
        _listed(
            "Adding these together|Adding the new ones|Putting these together|"
            "Putting this together|Taking everything together|Summing these|Totalling these|"
            "When we add them|If we add these|If we put them together|Let's add|As a sum|"
            "All together|For the total|To get the total|To find the total"
        ),
        _listed(
            "we add up|it adds up to|this adds up to|that adds up to|the sum is|"
            "the sum of these is|the sum comes to|the total is|the total is now|the total becomes|"
            "the total comes to|the total number is|the total number of {o} is|the new total is|"
            "the current total is|{n} has|{n} now has|{n} will have|{n} ends up with|{n} owns|"
            "{n}'s new total is"
        ),
        _listed(
            "by addition|in total|in all|altogether|{o} in total|{o} altogether|{o} in all|"
            "as the total|as the new total|when added|that {n} has now|that {n} owns|"
            "that belong to {n}|and that is the new number|and this is the total"
        ),
    ),
    "sub": (
        _listed(
            "Taking away those that are gone|Subtracting what is gone|Removing those|"
            "When we subtract|If we subtract|To know how many are left|To see what remains"
        ),
        _listed(
            "the difference is|the difference comes to|the remainder is|the remaining number is|"
            "the remaining amount is|the remaining {o} are|this leaves|this leaves us with|"
            "that leaves us with|there remain|we are left with|{n} is left with|{n} keeps|"
            "{n} now has|{n} ends up with"
        ),
        _listed("by subtraction|left|{o} left|remaining|of them|that {n} has now"),
    ),
    "times": (
        _listed("Multiplying these|Multiplying both numbers|When we multiply|If we multiply"),
        _listed("the product is|the new total is|{n} now has|{n} will have|{n} ends up with"),
        _listed("by multiplication|in total|{o} in total|that {n} has now"),
    ),
    "share": (
        _listed("Dividing these|Dividing equally|Sharing equally|Splitting them evenly|"
                "When we divide|If we divide"),
        _listed("the quotient is|each part has|every part gets|one part is"),
        _listed("by division|for each|in each part|{o} in each part"),
    ),
    "price": (
        _listed("Multiplying these|Multiplying both numbers|When we multiply|If we multiply|"
                "For the whole|For the total"),
        _listed("the product is|the total is|the full amount is|the total amount is"),
        _listed("by multiplication|in total|{o} in total|altogether|{o} in all"),
    ),
    "goal": (
        _listed("When we subtract|If we subtract|Comparing both numbers"),
        _listed("the difference is|the difference comes to"),
        _listed("by subtraction|more or fewer"),
    ),
}  # fmt: skip
_OPENINGS, _CLAUSES, _ENDINGS = range(3)
# A sentence without an equation, by what follows it.
_REMARKS = {
    "any": _listed(
        "We only need basic arithmetic.|Read the problem carefully.|The question is about {o}.|"
        "The problem is about {n}.|{n} has {o}.|We want a number.|We are asked for a number.|"
        "I will go through it step by step.|There are {s} steps.|It takes {s} steps.|"
        "This is a simple problem.|This is easy.|We use the numbers of the story.|"
        "Read the question again.|Step by step.|Think of the {o}.|Good.|{n} has some {o}."
    ),
    "first": _listed(
        "Let me go through the story.|Here is my reasoning.|Here is the calculation.|"
        "The solution is as follows.|We solve it in steps.|We need {a} and {b} here.|"
        "The numbers are {a} and {b}.|We have all that we need."
    ),
    "start": _listed(
        "Start with {a} {o}.|We begin with {a} {o}.|{n} starts with {a} {o}.|"
        "At first there are {a} {o}.|We are given the number {a}."
    ),
    "later": _listed(
        "Let me double check.|Let's check this.|That is correct.|This looks right.|"
        "That makes sense.|Now to the next part.|On to the next step.|Let us look at the rest.|"
        "Let's continue.|Let's keep going.|We go on.|Next step.|So we go on.|Let us check it.|"
        "It is as the story says.|Now for the rest.|Then comes the next step."
    ),
    "second": _listed("That was the first part.|That is the first step."),
    "last": _listed(
        "All that is left is the last step.|We are almost done.|We are nearly there.|"
        "Now the last step.|We need one more step."
    ),
    "end": _listed(
        "That was the last part.|Nothing else happens.|Now we know everything.|"
        "There is nothing more to do.|We have the answer.|That is all.|We are done.|"
        "This is what is asked.|All numbers are used.|Let me double check.|That is correct.|"
        "This looks right.|That makes sense."
    ),
    "add": ("This is simple addition.",),
    "sub": ("This is simple subtraction.",),
}
# Kinds of a first step whose left number is what the story starts with.
_STARTS = ("add", "sub", "times", "share", "price")
_CLOSINGS = _listed(
    "The final answer: {r}.|The answer we want is {r}.|So {r} is the answer.|So the result is {r}.|"
    "Then the answer is {r}.|Therefore, the answer is {r}.|Hence, the answer is {r}.|"
    "This gives the final answer {r}.|This is the answer: {r}.|That is {r}.|It is {r}.|So {r}.|"
    "So it must be {r}.|The number we are looking for is {r}.|The correct answer is {r}.|"
    "So our answer is {r}.|My answer is {r}.|I get {r}.|We get {r} as the answer.|"
    "We find the answer {r}.|The solution is {r}.|The total is {r}.|The final number is {r}.|"
    "The result we need is {r}.|So the final result is {r}.|To answer the question: {r}.|"
    "Our final number is {r}.|And so the answer is {r}.|Thus the result is {r}.|Finally, {r}.|"
    "In the end it is {r}.|The value is {r}.|= {r}|Answer {r}.|Result: {r}.|That leaves {r}.|"
    "The answer to the question is {r}.|{n} has {r}.|That makes {r} in the end.|So {n} gets {r}."
)


@dataclass(frozen=True, slots=True)
class StatedResult:
    """Where a solution names the result of a step, and the equation of the step."""

    start: int
    end: int
    equation: str


def step(rng: Random, story: stories.Story, at: int) -> str:
    """A sentence in ordinary English with the equation of step `at`."""
    of = story.steps[at]
    fill = {**story.fields, "o": unit(story, of)}
    parts = [
        _opening(rng, story, at) if rng.random() < 0.6 else "",
        pick(rng, _fitting(_CLAUSES, *_places(story, at))), of.equation,
        pick(rng, _fitting(_ENDINGS, *_places(story, at))),
    ]  # fmt: skip
    if parts[0]:
        parts[0] += pick(rng, (",", ",", ",", "", ":"))
    if not parts[0] and not parts[1] and rng.random() < 0.5:  # the equation first
        parts[3] = f"{pick(rng, ('is what', 'is how', ', so', ', as', ', which means'))} {{w}}"
    text = " ".join(filter(None, parts)).replace(" ,", ",")
    text = text.format_map({**fill, "w": _with_verb(rng)}).format_map(fill)
    return f"{text[0].upper()}{text[1:]}{'.' if rng.random() < 0.95 else ''}"


def _places(story: stories.Story, at: int) -> tuple[str, ...]:
    """The keys of the parts that are true of step `at`; after the last step, of the end."""
    if at == len(story.steps):
        return ("any", "end")
    keys = ["any", "first" if at == 0 else "later"]
    if at in (1, 2):
        keys.append(("second", "third")[at - 1])
    if at:
        keys.append("last" if at == len(story.steps) - 1 else "not last")
    elif story.steps[0].kind in _STARTS:
        keys.append("start")
    return (*keys, story.steps[at].kind)


@cache
def _fitting(slot: int, *keys: str) -> tuple[str, ...]:
    return tuple(part for key in keys if key in _PARTS for part in _PARTS[key][slot])


def _opening(rng: Random, story: stories.Story, at: int) -> str:
    return pick(rng, _fitting(_OPENINGS, *_places(story, at)))


def _with_verb(rng: Random) -> str:
    subject = pick(rng, ("we", "you", "I", "{n}", "the story", "the question", "it", "this"))
    verb = pick(rng, ("get", "has", "said", "needed", "wanted", "computed", "found", "counted",
                      "is", "is asked", "tells", "asks for", "must be", "says",
                      "works"))  # fmt: skip
    return f"{subject} {verb}"


def unit(story: stories.Story, step: Step) -> str:
    """What a step counts."""
    return "dollars" if step.kind == "price" else str(story.fields["o"])


def remark(rng: Random, story: stories.Story, at: int) -> str:
    """A sentence without an equation before step `at`, or after the last one."""
    known = {"s": len(story.steps)}
    if at < len(story.steps):
        known |= {"a": story.steps[at].left, "b": story.steps[at].right}
    fitting = [text for key in _places(story, at) for text in _REMARKS.get(key, ())]
    return pick(rng, fitting).format_map({**story.fields, **known})


def closing(rng: Random, story: stories.Story) -> str:
    """A last sentence, which names the answer."""
    return pick(rng, _CLOSINGS).format_map({**story.fields, "r": story.answer})


def in_words(rng: Random, story: stories.Story) -> tuple[str, tuple[StatedResult, ...]]:
    """All steps with their sums in words, and where the results are. All numbers are in words, or
    none."""
    words, text, results = rng.random() < 0.5, "", []
    for at, of in enumerate(story.steps):
        said = spoken.said(rng, judge_words.SPOKEN, of, "\0", words)
        if rng.random() < 0.3:
            opening = _opening(rng, story, at).format_map(story.fields)
            said = f"{opening}{pick(rng, (',', ',', ''))} {said}"
        if rng.random() < 0.2 and said.endswith("\0"):
            said += f" {unit(story, of)}"
        before, after = f"{said[0].upper()}{said[1:]}.".split("\0")
        text += f" {before}" if text else before
        start = len(text)
        text += spoken.in_words(of.result) if words else str(of.result)
        results.append(StatedResult(start, len(text), of.equation))
        text += after
    if rng.random() < 0.3:
        text += f" {closing(rng, story)}"
    return text, tuple(results)
