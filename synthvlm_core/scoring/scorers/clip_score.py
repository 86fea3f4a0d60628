"""CLIPScore: how well an image and its caption agree under a CLIP model.

Belongs here: the section, the formula, batches. Does not belong here: loading models (models/clip.py) and which pairs
are scored (scored.py).

    CLIPScore = weight * max(cos(image feature, text feature of prefix + caption), 0)

is Hessel et al. 2021 (arXiv 2104.08718) with weight 2.5 and the prefix "A photo depicts "; SynthVLM divides the 2.5
away again, which is weight 1. Features are normalised in float32 whatever the model computes in. A caption is cut at
the context length, its end token kept.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from synthvlm_core.models import clip
from synthvlm_core.models.clip import Clip
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.score import Score, Scorer
from synthvlm_core.parts.section import Absent, Model

if TYPE_CHECKING:
    from torch import Tensor


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
    """Scores pairs in batches of one fixed shape.

    The last batch is filled up, since a processor's kernels, and with them the last bits of a result, are chosen by a
    batch's shape. In batches of one shape a pair's score has the same bits whatever stands beside it, so that an
    interrupted and resumed run ends with the bytes of an uninterrupted one. That holds where each image falls to
    whole tiles of the kernels: batches of 16 and 64 held in every try on one thread and on two, with ViT-B/32's
    widths too; batches of 7 on two threads did not, within `ClipScore.bound`. Recipes take a multiple of 16.
    """

    def __init__(self, section: ClipScore, folder: str) -> None:
        """Load the model. Raises RecipeError as `models.clip.load`."""
        self._section = section
        self._clip: Clip = clip.load(section.model, section.architecture, folder, f"scores.{section.column}")

    def __call__(self, images: Sequence[Image.Image], captions: Sequence[str]) -> NDArray[np.float64]:
        """CLIPScore of each pair.

        Args:
            images: RGB, as decoded from the stored bytes.
            captions: one per image. A caption that occurs several times is encoded once.

        Returns:
            float64 (pairs,) in [0, weight], up to float32's rounding of a cosine of 1.
        """
        if len(images) != len(captions):
            raise ValueError(f"{len(images)} images and {len(captions)} captions are no pairs")
        if not images:
            return np.empty(0)
        distinct = list(dict.fromkeys(captions))
        texts = self._features(distinct, self._encode_texts)
        place = {caption: number for number, caption in enumerate(distinct)}
        pictures = self._features(images, self._encode_images)
        # row by row, so that the order of a sum cannot depend on how many pairs there are
        cosines = (pictures * texts[[place[caption] for caption in captions]]).sum(axis=1)
        scores: NDArray[np.float64] = self._section.weight * np.maximum(cosines, 0.0)
        return scores

    def _features(self, items: Sequence[Any], encode: "Callable[[list[Any]], Tensor]") -> NDArray[np.float64]:
        """Features of length 1, (items, width), computed batch by batch."""
        import torch

        size = self._section.batch_size
        found = []
        for start in range(0, len(items), size):
            part = list(items[start : start + size])
            with torch.inference_mode():
                features: Tensor = encode(part + [part[-1]] * (size - len(part)))
            features = torch.nn.functional.normalize(features.float(), dim=-1)
            found.append(features[: len(part)].double().cpu().numpy())
        return np.concatenate(found)

    def _encode_images(self, images: list[Image.Image]) -> "Tensor":
        import torch

        model = self._clip.model
        pixels = torch.stack([self._clip.transform(image) for image in images])
        parameter = next(model.parameters())
        features: Tensor = model.encode_image(pixels.to(parameter.device, parameter.dtype))
        return features

    def _encode_texts(self, captions: list[str]) -> "Tensor":
        model = self._clip.model
        tokens = self._clip.tokens([self._section.prefix + caption for caption in captions])
        features: Tensor = model.encode_text(tokens.to(next(model.parameters()).device))
        return features
