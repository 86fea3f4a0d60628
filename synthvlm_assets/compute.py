"""How stages are called: light ones here, heavy ones in a worker process of their own, through Dagster Pipes.

Belongs here: starting the worker and turning its report into a result. Does not belong here: what the worker does
(worker.py, synthvlm_core).
"""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import dagster as dg

from synthvlm_assets.settings import Settings
from synthvlm_core import recipe as recipes
from synthvlm_core.errors import MENDABLE
from synthvlm_core.recipe import Recipe

T = TypeVar("T")

CODE_VERSION_TAG = "dagster/code_version"
"""Set by hand: the recipe that a run carries may be older than the one loaded."""
RETRIES = dg.RetryPolicy(max_retries=2, delay=1, backoff=dg.Backoff.EXPONENTIAL)
"""For workers that crash or are killed; what a person must mend is a Failure without retries."""


class Worker(dg.ConfigurableResource):
    """Runs a stage in a process that ends with it and gives all memory back."""

    settings: dg.ResourceDependency[Settings]

    def run(self, context: dg.AssetExecutionContext, recipe: Recipe, stage: str) -> dg.MaterializeResult:
        """Run one stage for the context's partition. The result has the worker's counts and data version.

        Raises:
            dagster.Failure: with the worker's own words where a person can mend the cause; not retried.
            dagster.DagsterPipesExecutionError: if the worker crashed or was killed; the asset's retry policy applies.
        """
        invocation = dg.PipesSubprocessClient().run(
            context=context,
            command=[sys.executable, "-m", "synthvlm_assets.worker", stage],
            extras={
                "recipe": recipes.dumps(recipe),
                "store": self.settings.open_store().url(),
                # Pipes itself passes no key where a run names its one partition as a range, as some backfills do
                "partition": context.partition_key if context.has_partition_key else "",
            },
        )
        for message in invocation.get_custom_messages():
            raise dg.Failure(str(message["failure"]), allow_retries=False)
        return invocation.get_materialize_result()


def mendable(stage: Callable[..., T], *arguments: Any) -> T:
    """Call a stage; what a person can mend (a bad file, a missing input) becomes a Failure in its words, no retry."""
    try:
        return stage(*arguments)
    except MENDABLE as error:
        raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from error
