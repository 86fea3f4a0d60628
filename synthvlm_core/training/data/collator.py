"""Rows to a batch.

Belongs here: padding and pixels. Does not belong here: tokens and labels of a row (words.py), which rows share a batch
(order.py).
"""

from typing import Any

from synthvlm_core.training.data.rows import IGNORED, Example


class Collator:
    """Examples to a batch: `input_ids`, `labels`, `attention_mask` (batch, longest) int64, padded on the right, and
    `pixel_values` (pictures, 3, size, size) float32 where there are pictures."""

    def __init__(self, processor: Any) -> None:
        self._images = processor.image_processor
        self._pad = int(processor.tokenizer.pad_token_id)

    def __call__(self, examples: list[Example]) -> dict[str, Any]:
        import torch

        longest = max(len(example.ids) for example in examples)
        ids = torch.full((len(examples), longest), self._pad)
        labels = torch.full((len(examples), longest), IGNORED)
        mask = torch.zeros((len(examples), longest), dtype=torch.int64)
        for row, example in enumerate(examples):
            length = len(example.ids)
            ids[row, :length] = torch.tensor(example.ids)
            labels[row, :length] = torch.tensor(example.labels)
            mask[row, :length] = 1
        batch = {"input_ids": ids, "labels": labels, "attention_mask": mask}
        pictures = [example.picture for example in examples if example.picture is not None]
        if pictures:
            batch["pixel_values"] = self._images(pictures, return_tensors="pt").pixel_values
        return batch
