"""BLIP's matching head: from a recipe's `Model` to how likely a picture and a text match.

Belongs here: loading it, batches. Does not belong here: bounds and verdicts (captions/rules/image_text_matching.py).

    value = softmax(matching head of the text encoder that attends to the picture)[match]

is what Data-Juicer's image_text_matching_filter reads (py-data-juicer 1.6.1): transformers' `itm_score`, index 1. A
text is cut at the text encoder's length.

Values do not depend on what else is looked at: texts are padded to a multiple of `LENGTH_STEP` tokens, pairs of one
length make a batch, which is filled up with copies, and the result is rounded.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthvlm_core.errors import RecipeError
from synthvlm_core.models import weights as models
from synthvlm_core.parts.section import Model

LENGTH_STEP: Final = 16
DIGITS: Final = 6
"""Decimals of the probability."""


class Matcher:
    """A loaded `BlipForImageTextRetrieval`, in evaluation mode on `weights.device()`."""

    def __init__(self, model: Model, folder: str, key: str, *, batch_size: int = 64) -> None:
        """Load it.

        Args:
            folder: the recipe's folder, where relative paths start.
            key: of the section that names the model, for messages.

        Raises:
            RecipeError: if weights are missing, pickled, cut short or another model's, or if there is no tokenizer.
        """
        import torch
        from transformers import AutoImageProcessor, BlipForImageTextRetrieval

        self._batch_size = batch_size
        with models.opened(model, folder, f"{key}.model") as found:
            self._tokenizer = models.tokenizer(found, f"{key}.model")
            try:
                self._pictures: Any = AutoImageProcessor.from_pretrained(found.location)  # type: ignore[no-untyped-call]
            except (OSError, ValueError) as error:
                raise RecipeError(f"{key}.model.id: {found.location}: {error}") from error
            self._model = models.whole(BlipForImageTextRetrieval, found, f"{key}.model")
        self._model = self._model.to(models.device(), dtype=getattr(torch, model.dtype)).eval().requires_grad_(False)
        self._longest = int(self._model.config.text_config.max_position_embeddings)

    def __call__(self, images: Sequence[Image.Image], texts: Sequence[str]) -> NDArray[np.float64]:
        """The probability of a match of each pair, float64 (pairs,) in [0, 1], rounded to `DIGITS` decimals.

        Args:
            images: RGB.
            texts: one per image.
        """
        if len(images) != len(texts):
            raise ValueError(f"{len(images)} images and {len(texts)} captions are no pairs")
        values = np.empty(len(images))
        tokens = self._tokenizer(list(texts), truncation=True, max_length=self._longest)["input_ids"] if texts else []
        by_length: dict[int, list[int]] = {}
        for place, ids in enumerate(tokens):
            by_length.setdefault(min(-(-len(ids) // LENGTH_STEP) * LENGTH_STEP, self._longest), []).append(place)
        for length, places in sorted(by_length.items()):
            for start in range(0, len(places), self._batch_size):
                some = places[start : start + self._batch_size]
                filled = some + [some[-1]] * (self._batch_size - len(some))
                found = self._values([images[place] for place in filled], [tokens[place] for place in filled], length)
                values[some] = found[: len(some)]
        return values

    def _values(self, images: list[Image.Image], tokens: list[list[int]], length: int) -> Any:
        import torch

        device, dtype = self._model.device, self._model.dtype
        ids = torch.full((len(tokens), length), self._tokenizer.pad_token_id, dtype=torch.long)
        seen = torch.zeros(len(tokens), length, dtype=torch.long)
        for row, found in enumerate(tokens):
            ids[row, : len(found)] = torch.tensor(found)
            seen[row, : len(found)] = 1
        pixels = self._pictures(images=images, return_tensors="pt")["pixel_values"].to(device, dtype)
        with torch.inference_mode():
            looked = self._model.vision_model(pixel_values=pixels).last_hidden_state
            # not `forward`: it makes the mask of the patches on the CPU, wherever the model is
            read = self._model.text_encoder(
                input_ids=ids.to(device),
                attention_mask=seen.to(device),
                encoder_hidden_states=looked,
                encoder_attention_mask=torch.ones(looked.shape[:-1], dtype=torch.long, device=device),
            ).last_hidden_state
            logits = self._model.itm_head(read[:, 0, :])
        return logits.float().softmax(dim=-1)[:, 1].double().cpu().numpy().round(DIGITS)
