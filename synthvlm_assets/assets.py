"""An asset from a stage: every asset body is this one call.

Belongs here: what all assets have in common. Does not belong here: which assets there are and what each depends on
(defs/), the work (synthvlm_core), what a person is shown of it (metadata.py).
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

from synthvlm_assets import partitions
from synthvlm_assets.compute import CODE_VERSION_TAG, Worker, tried_again
from synthvlm_assets.metadata import Metadata
from synthvlm_assets.settings import Settings
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.stages import Stage
from synthvlm_core.store.records import Table


def stage_asset(
    stage: type[Stage],
    recipe: Recipe,
    *,
    needs: Sequence[type[Stage]] = (),
    shown: Callable[[Any], Metadata],
    table: Table | None = None,
    group: str,
    owner: str,
    kinds: set[str],
    pool: str,
    automation: dg.AutomationCondition | None = None,
) -> dg.AssetsDefinition:
    """The asset of a stage, described by the stage's docstring.

    Args:
        needs: the stages that it reads.
        shown: a function of a module, from a stage object, made, to what a person wants to see of it.
        table: whose columns the UI shows.
        pool: limits how many run at once.
    """

    @dg.asset(
        name=stage.name,
        description=inspect.getdoc(stage),
        partitions_def=partitions.of(stage, recipe),
        deps=[partitions.dependency(upstream, stage, recipe) for upstream in needs],
        group_name=group,
        kinds=kinds,
        owners=[f"team:{owner}"],
        code_version=stage.code_version(recipe),
        metadata={} if table is None else {"dagster/column_schema": _column_schema(table)},
        pool=pool,
        config_schema={},  # without one Dagster takes any
        automation_condition=automation,
    )
    def asset(
        context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], worker: dg.ResourceParam[Worker]
    ) -> dg.MaterializeResult:
        with tried_again(context.op_execution_context):
            here = stage(settings.open_store(), settings.run_recipe(context), context.partition_key)
            result = worker.make(context, here, shown)
            return result._replace(
                metadata={"recipe": here.recipe.name, **(result.metadata or {})},
                tags={CODE_VERSION_TAG: stage.code_version(here.recipe)},
            )

    return asset


def _column_schema(table: Table) -> dg.TableSchema:
    """The UI's column schema of a stored table."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=_type_name(column.type),
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=column.name == table.key),
            )
            for column in table.columns
        ]
    )


def _type_name(kind: pa.DataType) -> str:
    return {
        pa.string(): "string",
        pa.int64(): "int",
        pa.int32(): "int",
        pa.bool_(): "bool",
        pa.float64(): "float",
        pa.binary(): "bytes",
    }.get(kind, "image" if pa.types.is_struct(kind) else str(kind))
