"""What must hold for the scores of a source before its pairs are selected, as a check.

Belongs here: `thresholds.verify_source` under the name that people know. Does not belong here: the question itself.
"""

from synthvlm_core.findings import Finding
from synthvlm_core.scoring.scored import ScoredPairs
from synthvlm_core.selection import thresholds


def scores_reach_the_thresholds(stage: ScoredPairs) -> Finding:
    """Mean scores and the share above the floor reach the recipe's thresholds; else nothing is released."""
    return thresholds.verify_source(stage)
