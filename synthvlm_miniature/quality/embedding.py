"""The miniature CLIP as users load it: open_clip, from a folder.

Belongs here: embeddings of pictures and texts. Does not belong here: what is measured with them (clip.py,
choosing.py), CLIPScore in the pipeline (synthvlm_core.scoring).
"""

from collections.abc import Sequence
from pathlib import Path

import open_clip
import torch
from PIL import Image
from torch.nn import functional

_BATCH = 256


class Clip:
    """The shipped model as users load it: open_clip, from a folder."""

    def __init__(self, folder: Path) -> None:
        name = f"local-dir:{folder}"
        self.model, _, self.preprocess = open_clip.create_model_and_transforms(name)
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(name)

    def pictures(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """Embeddings of length 1."""
        with torch.inference_mode():
            parts = [
                self.model.encode_image(torch.stack([self.preprocess(p) for p in pictures[at : at + _BATCH]]))
                for at in range(0, len(pictures), _BATCH)
            ]
        return functional.normalize(torch.cat(parts), dim=-1)

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings of length 1."""
        with torch.inference_mode():
            parts = [
                self.model.encode_text(self.tokenizer(list(texts[at : at + _BATCH])))
                for at in range(0, len(texts), _BATCH)
            ]
        return functional.normalize(torch.cat(parts), dim=-1)
