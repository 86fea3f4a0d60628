"""How a run waits for a slot of a pool: asleep, and canceled at once.

Belongs here: what Dagster 1.13 lacks for that, put in its place. Does not belong here: pools and their limits (defs/,
dagster.yaml).

Dagster's loop asks its concurrency context how long to sleep before it looks again. The context takes the least of 0
and the times left, so that a waiting run keeps a processor busy; and nobody in that loop looks whether the run was
canceled, so that it goes on waiting until it is given up after minutes.
"""

import dagster as dg
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._utils.interrupts import pop_captured_interrupt

SECONDS = 0.5
"""Between two looks."""


def install() -> None:
    """Have the runs of this process wait so."""
    setattr(InstanceConcurrencyContext, "interval_to_next_pending_claim_check", _seconds_to_sleep)  # noqa: B010


def _seconds_to_sleep(context: InstanceConcurrencyContext) -> float:
    if pop_captured_interrupt():
        raise dg.DagsterExecutionInterruptedError("canceled while it waited for a slot")
    return SECONDS if context.has_pending_claims() else 0.0
