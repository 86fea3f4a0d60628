"""The stages in their order, as one list, and the one way to look at what is stored of one.

Belongs here: which stages there are. Does not belong here: any stage. Importing it loads neither torch nor diffusers.
"""

from collections.abc import Callable
from typing import Any

from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.errors import Mendable
from synthvlm_core.evaluation.evaluated import Evaluation
from synthvlm_core.findings import Finding
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.machine import in_words
from synthvlm_core.release import verdict
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.scoring.scored import ScoredPairs
from synthvlm_core.stages import Stage
from synthvlm_core.training.aligned import ProjectorCheckpoint
from synthvlm_core.training.tuned import VlmCheckpoint

STAGES: tuple[type[Stage], ...] = (
    RawCaptions,
    FilteredCaptions,
    SyntheticImages,
    ScoredPairs,
    Synthvlm100k,
    ProjectorCheckpoint,
    VlmCheckpoint,
    Evaluation,
)


def stage(name: str) -> type[Stage]:
    """The stage of that name. Raises KeyError if there is none."""
    return {found.name: found for found in STAGES}[name]


def look(stage: Stage, holds: Callable[[Any], Finding]) -> Finding:
    """Find out whether a property of a stage holds. What a person can mend means that it does not; what is found of a
    set becomes part of its verdict."""
    if isinstance(stage, Synthvlm100k):
        return verdict.look(stage, holds)
    try:
        with in_words():
            return holds(stage)
    except Mendable as error:
        return Finding(False, str(error))
