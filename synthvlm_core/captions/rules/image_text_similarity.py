"""Rule image_text_similarity: the CLIP cosine of a caption and its original image.

SynthVLM, Appendix Table 1: Data-Juicer's image_text_similarity_filter with openai/clip-vit-base-patch32, which is the
cosine of the caption as it is, without a prefix, cut at 77 tokens.
"""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthvlm_core.captions.rules.agreement import Agree, AgreementRule
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.section import Absent
from synthvlm_core.store import records

DIGITS: Final = 6
"""Decimals of the cosine."""


class ImageTextSimilarity(AgreementRule):
    """Captions that show what the picture shows that they came with, by CLIP."""

    rule: Literal["image_text_similarity"]
    version = 1
    table = records.IMAGE_TEXT_SIMILARITY
    statistic = "image_similarity"

    architecture: Annotated[str, Absent("ViT-B-32-quickgelu")] = "ViT-B-32-quickgelu"
    """open_clip's name of the geometry."""

    def agree(self, context: Context, key: str) -> Agree:
        import torch

        from synthvlm_core.models import clip

        torch.set_num_threads(context.threads)
        cosines = clip.Cosines(clip.load(self.model, self.architecture, context.folder, key), self.batch_size)

        def agree(pictures: Sequence[Image.Image], captions: Sequence[str]) -> NDArray[np.float64]:
            return np.minimum(np.round(cosines(pictures, captions), DIGITS), 1.0)

        return agree
