"""CLIPScore: how well an image and its caption agree under a CLIP model.

Belongs here: the section and the formula. Does not belong here: models and features (models/clip.py), and which pairs
are scored (scored.py).

    CLIPScore = weight * max(cos(image feature, text feature of prefix + caption), 0)

is Hessel et al. 2021 (arXiv 2104.08718) with weight 2.5 and the prefix "A photo depicts "; SynthVLM divides the 2.5
away again, which is weight 1. Features are normalised in float32 whatever the model computes in. A caption is cut at
the context length, its end token kept.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from synthvlm_core.models import clip
from synthvlm_core.models.clip import Cosines
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.score import Score, Scorer
from synthvlm_core.parts.section import Absent, Model


class ClipScore(Score):
    """weight * max(cosine, 0) of image and prefix + caption."""

    score: Literal["clip_score"]
    version = 1
    label = "CLIPScore"
    meaning = "weight * max(cosine of image and caption, 0)"
    bound = 1e-5

    model: Model
    architecture: str
    """open_clip's name of the geometry."""
    prefix: Annotated[str, Absent("")] = ""
    weight: Annotated[float, Field(gt=0.0), Absent(1.0)] = 1.0

    def load(self, context: Context) -> Scorer:
        import torch

        torch.set_num_threads(context.threads)
        return ClipScorer(self, context.folder)

    def told(self) -> str:
        return (
            f"CLIPScore: `{self.model.id}` ({self.architecture}), prefix {self.prefix!r}, weight {self.weight:g}, of an"
            " image and its caption"
        )


class ClipScorer:
    """Scores pairs in batches of one fixed shape, so that a pair's score has the same bits whatever stands beside it:
    see `models.clip.Cosines`."""

    def __init__(self, section: ClipScore, folder: str) -> None:
        """Load the model. Raises RecipeError as `models.clip.load`."""
        self._section = section
        loaded = clip.load(section.model, section.architecture, folder, f"scores.{section.column}")
        self._cosines = Cosines(loaded, section.batch_size, prefix=section.prefix)

    def __call__(self, images: Sequence[Image.Image], captions: Sequence[str]) -> NDArray[np.float64]:
        """CLIPScore of each pair.

        Args:
            images: RGB, as decoded from the stored bytes.
            captions: one per image. A caption that occurs several times is encoded once.

        Returns:
            float64 (pairs,) in [0, weight], up to float32's rounding of a cosine of 1.
        """
        scores: NDArray[np.float64] = self._section.weight * np.maximum(self._cosines(images, captions), 0.0)
        return scores
