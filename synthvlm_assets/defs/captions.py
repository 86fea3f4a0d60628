"""The caption assets: rows as read, and the captions worth drawing.

Belongs here: asset definitions of about ten lines. Does not belong here: checks (caption_checks.py), reading or
judging captions (synthvlm_core.captions).
"""

import dagster as dg

from synthvlm_assets import metadata, partitions
from synthvlm_assets.compute import CODE_VERSION_TAG, RETRIES, Worker, mendable
from synthvlm_assets.settings import Settings
from synthvlm_core import hashing, records
from synthvlm_core.captions import filtering, raw
from synthvlm_core.recipe import Recipe


def raw_version(recipe: Recipe) -> str:
    """Hash of the sources section: which files, and how they are read."""
    return hashing.of_json([[raw.reader_key(source), source.files, source.metadata_files] for source in recipe.sources])


def assets(recipe: Recipe) -> list[dg.AssetsDefinition]:
    """The caption assets of a recipe, partitioned by its sources."""
    sources = partitions.sources(recipe)

    @dg.asset(
        partitions_def=sources,
        group_name="captions",
        kinds={"parquet"},
        owners=["team:curation"],
        code_version=raw_version(recipe),
        metadata={"dagster/column_schema": metadata.column_schema(records.RAW_CAPTIONS)},
        retry_policy=RETRIES,
    )
    def raw_captions(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult:
        """Captions of one source as they stood in its published files; rows that are no captions go to quarantine.

        Every input row is known by file and row number. Files that were read before are not read again.
        """
        store, recipe = settings.open_store(), settings.run_recipe(context)
        manifest = mendable(raw.collect, store, recipe, context.partition_key)
        return dg.MaterializeResult(
            metadata=metadata.raw_captions(store, recipe, manifest),
            data_version=dg.DataVersion(manifest["content_hash"]),
            tags={CODE_VERSION_TAG: raw_version(recipe)},
        )

    @dg.asset(
        partitions_def=sources,
        deps=[raw_captions],
        group_name="captions",
        kinds={"parquet", "python"},
        owners=["team:curation"],
        code_version=filtering.code_version(recipe),
        metadata={"dagster/column_schema": metadata.column_schema(records.FILTERED_CAPTIONS)},
        retry_policy=RETRIES,
        pool="worker",
    )
    def filtered_captions(
        context: dg.AssetExecutionContext, settings: Settings, worker: Worker
    ) -> dg.MaterializeResult:
        """Different captions of one source that pass every rule of the recipe; the others are kept with the reason.

        Statistics are measured once per caption and stored; a changed threshold decides anew and measures nothing.
        """
        store, recipe = settings.open_store(), settings.run_recipe(context)
        result = worker.run(context, recipe, "filtered_captions")
        manifest = filtering.manifest(store, recipe, context.partition_key)
        return result._replace(
            metadata={**metadata.filtered_captions(store, recipe, manifest), **(result.metadata or {})},
            tags={CODE_VERSION_TAG: filtering.code_version(recipe)},
        )

    return [raw_captions, filtered_captions]
