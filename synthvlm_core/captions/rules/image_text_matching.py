"""Rule image_text_matching: how likely BLIP finds that a caption and its original image match.

SynthVLM, Appendix Table 1.
"""

from typing import Literal

from synthvlm_core.captions.rules.agreement import AgreementRule


class ImageTextMatching(AgreementRule):
    """Captions that agree with the picture they came with."""

    rule: Literal["image_text_matching"]
    statistic = "itm_score"
