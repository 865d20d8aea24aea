"""Groups of formats that name none: completions of one prompt in one step."""

from __future__ import annotations

from hashlib import blake2b


class PromptRuns:
    """Runs of equal prompts in a step are a group, as samplers write them."""

    def __init__(self, prefix: str) -> None:
        self._prefix, self._number = prefix, 0
        self._last: tuple[int | None, str] | None = None

    def group(self, step: int | None, prompt: str) -> str:
        if self._last != (step, prompt):
            self._last = (step, prompt)
            self._number += 1
        return f"{self._prefix}#{'' if step is None else f'{step}/'}{self._number}"


def by_prompt(prefix: str, step: int | None, prompt: str) -> str:
    """All equal prompts of a step, wherever in the file: for writers that shuffle their rows."""
    name = blake2b(prompt.encode(errors="surrogatepass"), digest_size=8).hexdigest()
    return f"{prefix}#{'' if step is None else f'{step}/'}{name}"
