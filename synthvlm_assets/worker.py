"""The worker process: one stage of one partition, started through Dagster Pipes.

Belongs here: reading what Dagster passes, calling one function of synthvlm_core, reporting. Does not belong here:
the work itself. Started as `python -m synthvlm_assets.worker <stage>`.

A failure that a person can mend (a bad file, a missing input) is reported as a message and ends the process with
status 0; the asset turns it into a Failure without retries. Anything else is a crash with a traceback.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' progress bars: ours are log lines that Dagster keeps

from dagster_pipes import PipesContext, open_dagster_pipes

from synthvlm_core import recipe as recipes
from synthvlm_core.captions import filtering
from synthvlm_core.errors import MENDABLE
from synthvlm_core.images import synthesis
from synthvlm_core.recipe import Recipe
from synthvlm_core.release import stage as release
from synthvlm_core.scoring import stage as scoring
from synthvlm_core.store import Store

Progress = Callable[[str, int, int], None]
PROGRESS_EVENTS = 20
"""Progress lines per run: Dagster stores every one."""


def filtered_captions(store: Store, recipe: Recipe, source: str, progress: Progress) -> dict[str, Any]:
    """Decide the captions of a source."""
    return filtering.decide(store, recipe, source, on_progress=progress)


def synthetic_images(store: Store, recipe: Recipe, source: str, progress: Progress) -> dict[str, Any]:
    """Draw the missing images of a source."""
    return synthesis.draw_source(store, recipe, source, on_progress=progress)


def scored_pairs(store: Store, recipe: Recipe, source: str, progress: Progress) -> dict[str, Any]:
    """Score the images of a source that have no score yet."""
    return scoring.score_source(store, recipe, source, on_progress=progress)


def synthvlm_100k(store: Store, recipe: Recipe, _: str, progress: Progress) -> dict[str, Any]:
    """Select over all sources and release."""
    return release.publish(store, recipe, on_progress=progress)


def projector_checkpoint(store: Store, recipe: Recipe, variant: str, progress: Progress) -> dict[str, Any]:
    """Align a variant's projector on its selection; a control's selection is released first."""
    from synthvlm_core.training import checkpoints, trainer

    method = checkpoints.variant_of(recipe, variant).selection
    chosen = (
        release.manifest(store, recipe)
        if method == "synthvlm"
        else release.publish(store, recipe, method=method, on_progress=progress)
    )
    return trainer.align(
        store,
        recipe,
        variant,
        pairs=f"{release.location(store, chosen)}/data",
        release_content_hash=chosen["content_hash"],
        on_progress=progress,
    )


def vlm_checkpoint(store: Store, recipe: Recipe, variant: str, progress: Progress) -> dict[str, Any]:
    """Tune a variant on the recipe's instructions."""
    from synthvlm_core.training import checkpoints, trainer

    method = checkpoints.variant_of(recipe, variant).selection
    content = release.manifest(store, recipe, method)["content_hash"]
    return trainer.finetune(store, recipe, variant, release_content_hash=content, on_progress=progress)


def evaluation(store: Store, recipe: Recipe, variant: str, progress: Progress) -> dict[str, Any]:
    """Ask a variant's checkpoint."""
    from synthvlm_core.evaluation import scores
    from synthvlm_core.training import checkpoints

    key = checkpoints.current_key(store, recipe, variant, "finetune")
    return scores.evaluate(store, recipe, variant, key, on_progress=progress)


STAGES = {
    stage.__name__: stage
    for stage in (
        filtered_captions,
        synthetic_images,
        scored_pairs,
        synthvlm_100k,
        projector_checkpoint,
        vlm_checkpoint,
        evaluation,
    )
}


def main(stage: str) -> None:
    """Run a stage as Dagster asked for it and report data version and counts."""
    with open_dagster_pipes() as pipes:
        recipe = recipes.loads(pipes.get_extra("recipe"))
        store = Store(pipes.get_extra("store"))
        try:
            manifest = STAGES[stage](store, recipe, pipes.get_extra("partition"), _progress(pipes))
        except MENDABLE as error:
            pipes.report_custom_message({"failure": f"{type(error).__name__}: {error}"})
            return
        counts = {key: value for key, value in manifest.items() if isinstance(value, int) and key != "version"}
        pipes.report_asset_materialization(metadata=counts, data_version=manifest["content_hash"])


def _progress(pipes: PipesContext) -> Progress:
    """Log about twenty lines per kind of work, however many shards there are."""
    reported: dict[str, int] = {}

    def report(what: str, done: int, total: int) -> None:
        step = PROGRESS_EVENTS if total == 0 else done * PROGRESS_EVENTS // total
        if step > reported.get(what, -1):
            reported[what] = step
            pipes.log.info(f"{what}: {done:,} of {total:,}")

    return report


if __name__ == "__main__":
    main(*sys.argv[1:])
