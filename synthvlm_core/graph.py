"""The stages in their order, as one list.

Belongs here: which stages there are. Does not belong here: any stage. Importing it loads neither torch nor diffusers.
"""

from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.evaluation.evaluated import Evaluation
from synthvlm_core.images.synthetic import SyntheticImages
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
