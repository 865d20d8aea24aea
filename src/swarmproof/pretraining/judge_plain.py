"""Right solutions in ordinary English, and with sums in words, for a judge to accept.

A sentence is an opening, a clause, the equation and an ending, from lists of some hundred parts, so
that the judge learns which words belong to a solution and not which sentences. `judge_corpus` has
further wordings, mostly bad English. The sentences on which judges are tested
(`judge_unseen_words`) are not here.
"""

from __future__ import annotations

from random import Random

from swarmproof.pretraining import spoken
from swarmproof.pretraining.prose import pick
from swarmproof.tasks import stories
from swarmproof.tasks.stories import Step


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|"))


_OPENINGS = _listed(
    "So|Now|Next|First|Then|After that|Afterwards|Following that|Subsequently|Consequently|"
    "Accordingly|As a consequence|For this reason|Because of this|Since then|At this moment|"
    "At this stage of the story|In this case|In this situation|At the beginning|In the beginning|"
    "Initially|Originally|To start off|To get started|For starters|First of all|First off|"
    "Secondly|Thirdly|Lastly|Last of all|In the second step|In the third step|In the final step|"
    "For the last part|For the second part|For the first part|Step by step|One step further|"
    "Going one step further|Taking the next step|With that done|That being done|Once that is done|"
    "Knowing this|Knowing that|Having found this|Having computed that|Keeping this in mind|"
    "Bearing that in mind|With this information|With these values|With these figures|"
    "With the given values|From the given numbers|From the given information|From the problem|"
    "From the problem statement|From the description|According to the problem|"
    "According to the text|As stated in the problem|As described|As given|As mentioned|"
    "As mentioned before|As noted earlier|As we found before|As a next step|As a first step|"
    "As a last step|Based on this|Based on that|Based on the question|On this basis|"
    "In light of that|Looking at the numbers|Looking at the question|Looking at what happens|"
    "Reading the question|Reading carefully|Thinking about it|Thinking it over|Reasoning further|"
    "Working out the numbers|Working it out|Calculating|Calculating further|Calculating this|"
    "Computing the value|Doing the calculation|Doing the arithmetic|Carrying out the operation|"
    "Carrying on|Putting these together|Putting this together|Adding these together|"
    "Adding the new ones|Counting everything|Counting all of them|Taking everything together|"
    "Taking this into account|Taking away those that are gone|Subtracting what is gone|"
    "Removing those|Multiplying these|Multiplying both numbers|Dividing these|Dividing equally|"
    "Sharing equally|Splitting them evenly|Summing up|Summing these|Totalling these|To summarise|"
    "In summary|To get the total|To find the total|To find the answer|To find how many there are|"
    "To know how many are left|To see what remains|To work this out|To compute this|"
    "To answer the question|To get the result|To determine this|To figure this out|"
    "In order to find this|In order to solve it|For this we compute|For the total|For the result|"
    "For the whole|In that way|In this manner|Like this|Hence|Thus|Therefore|Clearly|Obviously|"
    "Naturally|Evidently|Certainly|Surely|Indeed|Simply|Basically|Essentially|Exactly|Precisely|"
    "Finally|Eventually|Ultimately|Alternatively|Similarly|Likewise|Equally|Meanwhile|"
    "Overall that makes|In all that makes|All told|All together|In the end|When all is counted|"
    "When we add them|When we subtract|When we multiply|When we divide|When we calculate|"
    "When we count|If we add these|If we subtract|If we multiply|If we divide|"
    "If we calculate that|If we count them|If we put them together|Let's see|Let's calculate|"
    "Let's compute|Let's add|Let us calculate|Let us compute|Let us count|Let us now find|"
    "Let me compute|Let me count|Let me calculate|Well|Alright|All right|Good|Great|Fine|Yes|"
    "Now then|You see|We know|Remember that|Recall that|Notice that|Observe that|Note here that|"
    "Suppose we count|Consider this|Answering the question|Checking|Double checking|To check|"
    "To be sure|To be exact|More precisely|In numbers|As an equation|As a formula|As a sum|"
    "Written out|Written as an equation|In mathematical terms"
)
_CLAUSES = _listed(
    "|||we get|we get|we have|we have|we find|we obtain the value|we reach|we arrive at|"
    "we end up with|we calculate|we compute|we determine|we work out|we count|we add up|we see|"
    "we know|we learn|we can say|we can calculate|we can find|we can work out|we need to compute|"
    "we have to compute|we must calculate|we should get|we would have|we are left with|"
    "we are now at|we come to|we now get|we now have|we then get|we then have|we therefore have|"
    "we therefore get|we finally get|we simply get|we just need|we just take|you get|you have|"
    "you find|you will find|you can calculate|one gets|one finds|one has|I get|I find|I calculate|"
    "I count|I have|it is|it is now|it becomes|it makes|it equals|it gives|it must be|"
    "it has to be|it will be|it would be|it comes out as|it turns out to be|it results in|"
    "it adds up to|it amounts to|this is|this makes|this gives|this gives us|this becomes|"
    "this equals|this means|this leaves|this leaves us with|this results in|this amounts to|"
    "this comes to|this adds up to|this tells us|this shows|this should be|this must be|"
    "this can be computed as|this is equal to|that is|that makes|that makes it|that gives|"
    "that gives us|that becomes|that equals|that means|that leaves us with|that results in|"
    "that adds up to|that comes out to|that must be|there are|there are now|there will be|"
    "there must be|there would be|there remain|there are then|the result is|the result is now|"
    "the result becomes|the result will be|the total is|the total is now|the total becomes|"
    "the total comes to|the total number is|the total amount is|the total number of {o} is|"
    "the number is|the new number is|the number of {o} is|the number of {o} is now|"
    "the number of {o} becomes|the amount is|the amount of {o} is|the new amount is|"
    "the new total is|the sum is|the sum of these is|the sum comes to|the difference is|"
    "the difference comes to|the product is|the quotient is|the remainder is|"
    "the remaining number is|the remaining amount is|the remaining {o} are|the answer is|"
    "the answer to this part is|the answer becomes|the value is|the value becomes|the equation is|"
    "the calculation is|the computation is|the operation is|the formula is|the expression is|"
    "the solution is|the next value is|the final value is|the final number is|the final amount is|"
    "the count is|the count is now|the count becomes|the new count is|the current number is|"
    "the current total is|the current amount is|the full amount is|{n} has|{n} now has|"
    "{n} then has|{n} will have|{n} would have|{n} ends up with|{n} is left with|{n} gets|"
    "{n} holds|{n} counts|{n} keeps|{n} must have|{n} started with|{n} owns|{n}'s total is|"
    "{n}'s total becomes|{n}'s {o} are|{n}'s new total is|{n}'s number of {o} is|{n}'s count is"
)
_ENDINGS = _listed(
    "|||||||{o}|{o}|{o}|{o}|{o} now|{o} then|{o} in total|{o} altogether|{o} left|{o} in all|"
    "{o} so far|{o} for {n}|now|then|in total|in all|altogether|so far|at this point|at that time|"
    "after this|after that|afterwards|in the end|at the end|at first|at the start|left|remaining|"
    "for {n}|for now|here|exactly|as a result|as the result|as the total|as the new total|"
    "as the number of {o}|of them|of the {o}|in this step|for this step|for the next step|"
    "as stated|as described|as needed|as required|as expected|according to the problem|"
    "according to the question|by multiplication|by addition|by subtraction|by division|"
    "in the whole story|when counted|when added|when we count them all|which is what we need|"
    "which is the number we need|which is what we are looking for|which we use next|"
    "which we need for the next step|that belong to {n}|that {n} has now|that {n} owns|"
    "and we continue from there|and we keep that number|and that is the new number|"
    "and this is the total|and this is the result"
)
_REMARKS = _listed(
    "Let me double check.|Let's check this.|That is correct.|This looks right.|That makes sense.|"
    "Now to the next part.|On to the next step.|Let us look at the rest.|Let's continue.|"
    "Let's keep going.|We are almost done.|We are nearly there.|That was the first part.|"
    "That was the last part.|This is simple addition.|This is simple subtraction.|"
    "This is a simple problem.|We only need basic arithmetic.|Read the problem carefully.|"
    "The question is about {o}.|The problem is about {n}.|{n} has {o}.|We want the number of {o}.|"
    "We are asked for a number.|Nothing else happens.|Now we know everything.|"
    "All that is left is the last step.|There is nothing more to do.|We have the answer.|"
    "I will go through it step by step.|Let me go through the story.|Here is my reasoning.|"
    "Here is the calculation.|The solution is as follows.|We solve it in steps.|"
    "There are {s} steps.|It takes {s} steps.|Start with {a} {o}.|We begin with {a} {o}.|"
    "{n} starts with {a} {o}.|At first there are {a} {o}.|We are given the number {a}.|"
    "The number {b} is given.|The numbers are {a} and {b}.|We need {a} and {b} here."
)
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
# By sign. Judges are tested on others, and on some of these with 2 + 2 = 5, which never occurs.
SPOKEN = {
    "+": ("{a} plus {b} is {r}", "{a} plus {b} equals {r}", "{a} and {b} make {r}",
          "{a} added to {b} gives {r}", "the sum of {a} and {b} is {r}", "{b} more than {a} is {r}",
          "{a} together with {b} makes {r}", "if we add {b} to {a} we get {r}",
          "{a} increased by {b} is {r}", "adding {a} and {b} gives {r}", "{a} with {b} more is {r}",
          "from {a} we go up by {b} to {r}"),
    "-": ("{a} minus {b} is {r}", "{a} minus {b} equals {r}", "{a} take away {b} leaves {r}",
          "taking {b} from {a} leaves {r}", "{b} fewer than {a} is {r}",
          "the difference of {a} and {b} is {r}", "if we subtract {b} from {a} we get {r}",
          "{a} without {b} is {r}", "{a} reduced by {b} is {r}",
          "from {a} we go down by {b} to {r}",
          "{a} with {b} gone leaves {r}", "subtracting {b} from {a} gives {r}"),
    "*": ("{a} times {b} is {r}", "{a} times {b} equals {r}", "{a} multiplied by {b} gives {r}",
          "the product of {a} and {b} is {r}", "{b} times as many as {a} is {r}",
          "{a} groups of {b} make {r}", "multiplying {a} by {b} gives {r}",
          "if we multiply {a} by {b} we get {r}", "{a} by {b} makes {r}"),
    "/": ("{a} divided by {b} is {r}", "{a} divided by {b} equals {r}", "{a} over {b} gives {r}",
          "{a} shared by {b} gives {r} each", "dividing {a} by {b} gives {r}",
          "if we divide {a} by {b} we get {r}", "{a} in {b} equal parts makes {r} each"),
}  # fmt: skip


def step(rng: Random, story: stories.Story, step: Step) -> str:
    """A sentence in ordinary English with the equation of a step."""
    fill = {**story.fields, "o": unit(story, step)}
    parts = [
        pick(rng, _OPENINGS) if rng.random() < 0.6 else "", pick(rng, _CLAUSES), step.equation,
        pick(rng, _ENDINGS),
    ]  # fmt: skip
    if parts[0]:
        parts[0] += pick(rng, (",", ",", ",", "", ":"))
    if not parts[0] and not parts[1] and rng.random() < 0.5:  # the equation first
        parts[3] = f"{pick(rng, ('is what', 'is how', ', so', ', as', ', which means'))} {{w}}"
    text = " ".join(filter(None, parts)).replace(" ,", ",")
    text = text.format_map({**fill, "w": _with_verb(rng)}).format_map(fill)
    return f"{text[0].upper()}{text[1:]}{'.' if rng.random() < 0.95 else ''}"


def _with_verb(rng: Random) -> str:
    subject = pick(rng, ("we", "you", "I", "{n}", "the story", "the question", "it", "this"))
    verb = pick(rng, ("get", "has", "said", "needed", "wanted", "computed", "found", "counted",
                      "is", "is asked", "tells", "asks for", "must be", "says",
                      "works"))  # fmt: skip
    return f"{subject} {verb}"


def unit(story: stories.Story, step: Step) -> str:
    """What a step counts."""
    return "dollars" if step.kind == "price" else str(story.fields["o"])


def remark(rng: Random, story: stories.Story, step: Step) -> str:
    """A sentence without an equation before a step."""
    known = {"a": step.left, "b": step.right, "s": len(story.steps), "o": unit(story, step)}
    return pick(rng, _REMARKS).format_map({**story.fields, **known})


def closing(rng: Random, story: stories.Story) -> str:
    """A last sentence, which names the answer."""
    return pick(rng, _CLOSINGS).format_map({**story.fields, "r": story.answer})


def in_words(rng: Random, story: stories.Story, wrong: tuple[int, int] | None) -> tuple[str, str]:
    """All steps in words. `wrong` is the number of a step and the result that it gets instead.

    Returns:
        The text, and the sentence of it that is wrong (empty: none).
    """
    words, told, slip = rng.random() < 0.5, [], ""
    for i, of in enumerate(story.steps):
        result = wrong[1] if wrong and wrong[0] == i else of.result
        shown = spoken.in_words(result) if words else str(result)
        text = spoken.said(rng, SPOKEN, of, shown, words)
        if rng.random() < 0.3:
            opening = pick(rng, _OPENINGS).format_map(story.fields)
            text = f"{opening}{pick(rng, (',', ',', ''))} {text}"
        if rng.random() < 0.2 and not text.endswith("each"):
            text += f" {unit(story, of)}"
        text = f"{text[0].upper()}{text[1:]}."
        if wrong and wrong[0] == i:
            slip = text
        told.append(text)
    if rng.random() < 0.3:
        told.append(closing(rng, story))
    return " ".join(told), slip
