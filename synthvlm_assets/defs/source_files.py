"""The sensor that watches the sources' files.

Belongs here: deciding which source's files are not those last read. Does not belong here: reading them.
"""

from collections.abc import Iterator

import dagster as dg

from synthvlm_assets.settings import RECIPE_TAG, Settings
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.errors import Mendable
from synthvlm_core.recipe.sections import Recipe


def source_files_sensor(recipe: Recipe) -> dg.SensorDefinition:
    """Requests the caption assets of a source whose files are new or changed."""

    @dg.sensor(
        target=[RawCaptions.name, FilteredCaptions.name],
        minimum_interval_seconds=30,
        description="New or changed source files: requests that source's captions. Off until switched on.",
    )
    def source_files(
        context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        store, recipe = settings.open_store(), settings.recipe
        requested, unreadable = [], []
        for source in recipe.sources:
            try:
                change = RawCaptions(store, recipe, source.name).changed()
            except Mendable as error:
                unreadable.append(str(error))
                continue
            if change is not None:
                requested.append(source.name)
                # one run per state of the files since they were last read: a run that failed is not started again by
                # itself, and files that return to an earlier state are read again
                yield dg.RunRequest(
                    partition_key=source.name,
                    run_key=f"{source.name}:{change}:{_last_read(context.instance, source.name)}",
                    tags={RECIPE_TAG: recipe.hash},
                )
        if not requested:
            yield dg.SkipReason("; ".join(unreadable) or "all source files are as they were last read")

    return source_files


def _last_read(instance: dg.DagsterInstance, source_name: str) -> int:
    """A number that changes whenever the source's raw captions are materialized, 0 before the first time."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(RawCaptions.name), asset_partitions=[source_name]), limit=1
    ).records
    return records[0].storage_id if records else 0
