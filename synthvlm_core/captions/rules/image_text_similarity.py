"""Rule image_text_similarity: the CLIP cosine of a caption and its original image.

SynthVLM, Appendix Table 1.
"""

from typing import Literal

from synthvlm_core.captions.rules.agreement import AgreementRule


class ImageTextSimilarity(AgreementRule):
    """Captions that agree with the picture they came with."""

    rule: Literal["image_text_similarity"]
    statistic = "image_similarity"
