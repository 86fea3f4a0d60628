"""What is made by itself: the condition of every link between the source files and the evaluated models, and the
sensors that look at it.

Belongs here: when a partition is requested without a person. Does not belong here: whether something is made of what
there is now (synthvlm_core.standing), new source files (defs/source_files.py).

Nothing is requested while anything above it runs, before the blocking checks of everything it is made of have passed,
or from half of a change: a set waits until all of its sources are as their captions are. A change of the recipe
requests nothing, since people decide what an edit may cost; until they did, what was made under other settings holds
back what comes after it. What was requested once for the same inputs is not requested again: a run that failed is left
to its retries and to people. What waits for what stands in the log of a sensor's tick.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import dagster as dg

from synthvlm_core.errors import Mendable
from synthvlm_core.graph import STAGES
from synthvlm_core.machine import in_words
from synthvlm_core.recipe.sections import Link, Recipe
from synthvlm_core.stages import Stage
from synthvlm_core.standing import Standing, State, looking
from synthvlm_core.store.objects import Store

AC = dg.AutomationCondition
SECONDS = 15
"""Between two looks of a sensor."""

SENSORS: tuple[tuple[str, Link, str, str], ...] = (
    ("drawing", "images", "images", "New captions of a source: requests its images and scores."),
    ("releasing", "set", "release", "New scores: requests the sets, when all sources are as their captions are."),
    ("retraining", "training", "training", "A new set: requests checkpoints and evaluation of what was trained on it."),
)
"""Name, link of the recipe, group of assets, what it does."""


class Behind(dg.AutomationCondition):
    """True of partitions that were made of other content than there is now, and of new ones where that is wanted, once
    the blocking checks of what they are made of have passed; and of those that follow what is requested in the same
    look: they are one run, in which checks block.

    It must be the last of a conjunction: what it is true of is requested, and it remembers that.

    Args:
        new: partitions that may be made without having been made before.
    """

    def __init__(self, stage: type[Stage], recipe: Recipe, store: str, new: Collection[str]) -> None:
        self.stage, self.recipe, self.store, self.new = stage, recipe, store, frozenset(new)
        # not all_deps_blocking_checks_passed: of a set that is true where the checks of one source passed
        self._following = AC.any_deps_match(AC.will_be_requested())
        self._unsound = AC.any_deps_match(AC.any_checks_match(~AC.check_passed(), blocking_only=True))

    @property
    def children(self) -> Sequence[dg.AutomationCondition]:
        return [self._following, self._unsound]

    @property
    def description(self) -> str:
        return (
            "made of other content than there is now, or new; what it is made of is sound; not requested for it before"
        )

    # Dagster awaits it, too
    async def evaluate(self, context: dg.AutomationContext) -> dg.AutomationResult:  # type: ignore[override]
        memory = _Memory(context)
        wanted = {}
        of = looking()
        following, followers = await _true_of(self._following, 0, context, context.candidate_subset)
        now = set()
        for partition in sorted(context.candidate_subset.expensively_compute_partition_keys()):
            stage = self.stage(Store(self.store), self.recipe, partition)
            try:
                with in_words():
                    found = of(stage)
            except Mendable as error:
                found = Standing(State.WAITING, why=str(error))
            if partition in followers and self._may_follow(stage):
                now.add(partition)
            elif found.state in (State.WAITING, State.EDITED):
                memory.tell(partition, found.why)
            elif found.state is State.BEHIND or (found.state is State.NEW and partition in self.new):
                wanted[partition] = found.inputs
        asked = context.candidate_subset.compute_intersection_with_partition_keys(set(wanted))
        unsound, waiting = await _true_of(self._unsound, 1, context, asked)
        for partition, inputs in wanted.items():
            if partition in waiting:
                memory.tell(partition, _not_passed(context, partition, unsound))
            elif memory.is_first(partition, inputs):
                now.add(partition)
        true = context.candidate_subset.compute_intersection_with_partition_keys(now)
        return dg.AutomationResult(context, true, cursor=memory.dumps(), child_results=[following, unsound])

    def _may_follow(self, stage: Stage) -> bool:
        """Whether a stage may be made behind what it is made of: a person made it so before, or it may be new."""
        made = stage.last_made()
        return stage.partition in self.new if made is None else made.get("settings") == stage.settings


async def _true_of(
    condition: dg.AutomationCondition, index: int, context: dg.AutomationContext, asked: Any
) -> tuple[dg.AutomationResult, AbstractSet[str]]:
    """The result of a child condition, and the partitions of which it is true."""
    child = context.for_child_condition(child_condition=condition, child_indices=[index], candidate_subset=asked)
    result = await child.evaluate_async()
    return result, result.true_subset.expensively_compute_partition_keys() & asked.expensively_compute_partition_keys()


class _Memory:
    """What was requested and told, between the looks at a condition."""

    def __init__(self, context: dg.AutomationContext) -> None:
        self._context = context
        known = json.loads(context.cursor or "{}")
        self._requested: dict[str, str] = known.get("requested", {})
        self._told: dict[str, str] = known.get("told", {})

    def tell(self, partition: str, why: str) -> None:
        """Put down why a partition waits, unless that was said before."""
        if self._told.get(partition) != why:
            # what goes to `context.log`, a child of the tick's logger, is not kept with the tick
            log = self._context._root_log
            log.info(f"{self._context.key.to_user_string()} of {partition!r} waits: {why}")
        self._told[partition] = why

    def is_first(self, partition: str, inputs: str) -> bool:
        """Whether a partition was not requested for these inputs yet; from now on it was."""
        self._told.pop(partition, None)
        before, self._requested[partition] = self._requested.get(partition), inputs
        return before != inputs

    def dumps(self) -> str:
        return json.dumps({"requested": self._requested, "told": self._told})


def _not_passed(context: dg.AutomationContext, partition: str, result: dg.AutomationResult) -> str:
    """Which checks of what a partition is made of have not passed."""
    waiting = context.candidate_subset.compute_intersection_with_partition_keys({partition})
    found: set[str] = set()
    for node in _nodes(result):
        check = getattr(node.condition, "key", None)
        if isinstance(check, dg.AssetCheckKey):
            red = node.true_subset.compute_intersection(waiting.compute_parent_subset(check.asset_key))
            for name in red.expensively_compute_partition_keys():
                found.add(f"{check.name} of {check.asset_key.to_user_string()}/{name}")
    return f"not passed: {', '.join(sorted(set(found)))}"


def _nodes(result: dg.AutomationResult) -> Iterator[dg.AutomationResult]:
    yield result
    for child in result.child_results:
        yield from _nodes(child)


def when_behind(
    stage: type[Stage], recipe: Recipe, store: str, *, new: Collection[str] | None = None
) -> dg.AutomationCondition:
    """Requests what is not made of what there is now.

    Args:
        new: partitions that may be made without having been made before; None for all.
    """
    running = AC.in_progress()
    # a set that was released stands for itself; a source or set is waited for from its files on
    for _ in range(1 if stage.over == "variant" else STAGES.index(stage)):
        running = AC.in_progress() | AC.any_deps_match(running)
    wanted = stage.partitions(recipe) if new is None else new
    nothing_runs = ~running.with_label("it, or something that it is made of, is running")
    return (nothing_runs & Behind(stage, recipe, store, wanted)).with_label("what it is made of changed, and is sound")


def sensors(recipe: Recipe) -> list[dg.SensorDefinition]:
    """One for each link after the captions; on from the start where the recipe names the link."""
    on, off = dg.DefaultSensorStatus.RUNNING, dg.DefaultSensorStatus.STOPPED
    return [
        dg.AutomationConditionSensorDefinition(
            name,
            target=dg.AssetSelection.groups(group),
            default_status=on if link in recipe.automation else off,
            minimum_interval_seconds=SECONDS,
            use_user_code_server=True,  # the daemon knows nothing of `Behind`
            description=description,
        )
        for name, link, group, description in SENSORS
    ]
