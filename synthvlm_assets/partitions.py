"""Partitions: one per source for data, one per set for releases, one per variant for checkpoints.

Belongs here: partition definitions and how they map. Does not belong here: shards, which are files and never
partitions.
"""

import dagster as dg

from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.stages import Stage


def of(stage: type[Stage], recipe: Recipe) -> dg.StaticPartitionsDefinition:
    """A stage's partitions in the recipe's order, so that a backfill starts the largest source first."""
    return dg.StaticPartitionsDefinition(stage.partitions(recipe))


def dependency(upstream: type[Stage], downstream: type[Stage], recipe: Recipe) -> dg.AssetDep:
    """A dependency of one stage on another: equal partitions, every source for a set, its own set for a variant."""
    if upstream.over == downstream.over:
        return dg.AssetDep(upstream.name)
    if (upstream.over, downstream.over) == ("source", "set"):
        return dg.AssetDep(upstream.name, partition_mapping=dg.AllPartitionMapping())
    variants: dict[str, set[str]] = {}
    for variant in recipe.training.variants:
        variants.setdefault(variant.selection, set()).add(variant.name)
    return dg.AssetDep(upstream.name, partition_mapping=dg.StaticPartitionMapping(variants))
