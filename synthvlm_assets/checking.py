"""Asset checks from properties of the core: one property, one check, the same for every stage.

Belongs here: turning a function that returns a Finding into a Dagster check. Does not belong here: the properties
(synthvlm_core) or which asset has which (defs/).
"""

import inspect
from collections.abc import Callable
from typing import Any

import dagster as dg

from synthvlm_assets import partitions
from synthvlm_assets.settings import Settings
from synthvlm_core.errors import MENDABLE
from synthvlm_core.findings import Finding
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.stages import Stage


def stage_check(
    stage: type[Stage], recipe: Recipe, holds: Callable[[Any], Finding], *, warns: bool = False
) -> dg.AssetChecksDefinition:
    """A check per partition, named and described by the property. It blocks what follows in the same run, unless it
    only warns.

    Args:
        holds: a stage object to whether the property holds. An error that a person can mend means that it does not.
    """
    severity = dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR

    @dg.asset_check(
        asset=stage.name,
        name=holds.__name__,
        description=" ".join((inspect.getdoc(holds) or "").partition("\n\n")[0].split()),
        partitions_def=partitions.of(stage, recipe),
        blocking=not warns,
        config_schema={},  # without one Dagster takes any
    )
    def check(context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
        here = stage(settings.open_store(), settings.run_recipe(context), context.partition_key)
        try:
            finding = holds(here)
        except MENDABLE as error:
            finding = Finding(False, str(error))
        return dg.AssetCheckResult(
            passed=finding.passed, severity=severity, description=finding.summary, metadata=finding.numbers
        )

    return check
