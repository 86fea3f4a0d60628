"""How stages are called: each in a worker process of its own, through Dagster Pipes.

Belongs here: starting the worker and turning its report into a result. Does not belong here: what the worker does
(worker.py, synthvlm_core).
"""

import sys

import dagster as dg

from synthvlm_core.recipe import loading
from synthvlm_core.stages import Stage

CODE_VERSION_TAG = "dagster/code_version"
"""Set by hand: the recipe that a run carries may be older than the one loaded."""
RETRIES = dg.RetryPolicy(max_retries=2, delay=1, backoff=dg.Backoff.EXPONENTIAL)
"""For workers that crash or are killed; what a person must mend is a Failure without retries."""


class Worker:
    """Runs a stage in a process that ends with it and gives all memory back."""

    def run(self, context: dg.AssetExecutionContext, stage: Stage) -> dg.MaterializeResult:
        """Make one partition of a stage. The result has the worker's counts and data version.

        Raises:
            dagster.Failure: with the worker's own words where a person can mend the cause; not retried.
            dagster.DagsterPipesExecutionError: if the worker crashed or was killed; the asset's retry policy applies.
        """
        invocation = dg.PipesSubprocessClient().run(
            context=context,
            command=[sys.executable, "-m", "synthvlm_assets.worker", stage.name],
            extras={
                "recipe": loading.dumps(stage.recipe),
                "store": stage.store.url(),
                # Pipes itself passes no key where a run names its one partition as a range, as some backfills do
                "partition": stage.partition,
            },
        )
        for message in invocation.get_custom_messages():
            raise dg.Failure(str(message["failure"]), allow_retries=False)
        return invocation.get_materialize_result()
