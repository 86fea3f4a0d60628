"""Asset checks from properties of the core: one property, one check, the same for every stage.

Belongs here: turning functions that return a Finding into Dagster checks. Does not belong here: the properties
(synthvlm_core) or which asset has which (defs/).

A stage's checks are found out by one worker process, as a stage is made by one: what hangs or crashes at damaged files
is ended or survived, a model needs no memory of the run's process, and starting a process is paid once for all of them.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg

from synthvlm_assets import partitions
from synthvlm_assets.compute import Worker, tried_again
from synthvlm_assets.metadata import four_digits
from synthvlm_assets.settings import Settings
from synthvlm_core.findings import Finding
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.stages import Stage


@dataclass(frozen=True)
class StageCheck:
    """A property that every partition of a stage is to have."""

    stage: type[Stage]
    holds: Callable[[Any], Finding]
    spec: dg.AssetCheckSpec
    severity: dg.AssetCheckSeverity


def stage_check(
    stage: type[Stage], recipe: Recipe, holds: Callable[[Any], Finding], *, warns: bool = False
) -> StageCheck:
    """A check per partition, named and described by the property. It blocks what follows in the same run, unless it
    only warns.

    Args:
        holds: a function of a module, from a stage object to whether the property holds. An error that a person can
            mend means that it does not.
    """
    spec = dg.AssetCheckSpec(
        holds.__name__,
        asset=stage.name,
        description=" ".join((inspect.getdoc(holds) or "").partition("\n\n")[0].split()),
        partitions_def=partitions.of(stage, recipe),
        blocking=not warns,
    )
    return StageCheck(stage, holds, spec, dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR)


def definitions(checks: Iterable[StageCheck]) -> list[dg.AssetChecksDefinition]:
    """Dagster's checks, those of one asset in one step."""
    by_stage: dict[type[Stage], list[StageCheck]] = {}
    for check in checks:
        by_stage.setdefault(check.stage, []).append(check)
    return [_step(stage, found) for stage, found in by_stage.items()]


def _step(stage: type[Stage], checks: list[StageCheck]) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=f"{stage.name}_checks",
        specs=[check.spec for check in checks],
        can_subset=True,
        config_schema={},  # without one Dagster takes any
    )
    def step(
        context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings], worker: dg.ResourceParam[Worker]
    ) -> Iterator[dg.AssetCheckResult]:
        asked = [check for check in checks if check.spec.key in context.selected_asset_check_keys]
        with tried_again(context.op_execution_context):
            here = stage(settings.open_store(), settings.run_recipe(context), context.partition_key)
            found = worker.check(context, here, [check.holds for check in asked])
        for check, finding in zip(asked, found, strict=True):
            yield dg.AssetCheckResult(
                passed=finding.passed,
                asset_key=check.spec.asset_key,
                check_name=check.spec.name,
                severity=dg.AssetCheckSeverity.WARN if finding.warning else check.severity,
                description=finding.summary,
                metadata=four_digits(finding.numbers),
            )

    return step
