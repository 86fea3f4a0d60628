"""How what a stage made last stands to its inputs: what may be made by itself, and what has to wait for what.

Belongs here: comparing what stages wrote down when they were made (`Stage.last_made`). Does not belong here: whether
checks passed or anything runs (synthvlm_assets), what a run would cost (plan.py).

It reads a small document for each stage above and no weights, captions or pictures, so that it may be asked often. What
it says is exact: contents are compared, never times, and a look that was missed is made up for by the next.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from synthvlm_core.stages import Stage


class State(StrEnum):
    """What a stage is, seen from its inputs as they are now."""

    NEW = "new"
    """Never made under the recipe's name; its inputs are there."""
    BEHIND = "behind"
    """Made, of other content than its inputs have now."""
    CURRENT = "current"
    """Made of its inputs as they are now."""
    EDITED = "edited"
    """Made under other settings than the recipe has now. What an edit costs is for a person to decide."""
    WAITING = "waiting"
    """One of its inputs is not current; for what is trained: there is no set yet."""


@dataclass(frozen=True)
class Standing:
    """A state and what follows from it."""

    state: State
    content: str = ""
    """What it holds, as it was made last."""
    inputs: str = ""
    """What its inputs hold now: equal where nothing changed. Empty while waiting."""
    why: str = ""
    """Why it is not current, in words; empty if it is."""


def looking() -> Callable[[Stage], Standing]:
    """A function from a stage to its standing that looks at each stage once, however many need it."""
    known: dict[str, Standing] = {}

    def of(stage: Stage) -> Standing:
        if stage.title not in known:
            known[stage.title] = _standing(stage, of)
        return known[stage.title]

    return of


def _standing(stage: Stage, of: Callable[[Stage], Standing]) -> Standing:
    made = stage.last_made()
    content = made.get("content", "") if made is not None else ""
    needs = {need.title: of(need) for need in stage.needs}
    # a set that was released stands for itself, whatever became of its sources since
    settled = {need.title for need in stage.needs if need.over == "set" and needs[need.title].content}
    waits = [found.why for title, found in needs.items() if title not in settled and found.state is not State.CURRENT]
    if waits:
        return Standing(State.WAITING, content, why="; ".join(waits))
    inputs = {title: found.content for title, found in needs.items()}
    told = ",".join(f"{title}={content}" for title, content in sorted(inputs.items()))
    if made is None:
        return Standing(State.NEW, content, told, f"{stage.title} was not made yet")
    if made.get("settings") != stage.settings:
        why = f"{stage.title} was made under other settings, or by an earlier version: {stage.remedy} to accept them"
        return Standing(State.EDITED, content, told, why)
    if made.get("inputs") != inputs:
        return Standing(State.BEHIND, content, told, f"{stage.title} was made of other content than there is now")
    return Standing(State.CURRENT, content, told)
