"""Rule image_text_matching: how likely BLIP finds that a caption and its original image match.

SynthVLM, Appendix Table 1: Data-Juicer's image_text_matching_filter with Salesforce/blip-itm-base-coco. The value is
softmax(logits of the matching head)[match], models/blip.py.
"""

from typing import Literal

from synthvlm_core.captions.rules.agreement import Agree, AgreementRule
from synthvlm_core.parts.part import Context
from synthvlm_core.store import records


class ImageTextMatching(AgreementRule):
    """Captions that show what the picture shows that they came with, by BLIP's matching head."""

    rule: Literal["image_text_matching"]
    version = 1
    table = records.IMAGE_TEXT_MATCHING
    statistic = "itm_score"

    def agree(self, context: Context, key: str) -> Agree:
        import torch

        from synthvlm_core.models import blip

        torch.set_num_threads(context.threads)
        return blip.Matcher(self.model, context.folder, key, batch_size=self.batch_size)
