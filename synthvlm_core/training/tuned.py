"""Stage vlm_checkpoint: tune projector and language model on instructions, from an aligned projector.

    the recipe's instruction mix  ->  a folder for `LlavaForConditionalGeneration.from_pretrained`

The vision tower stays as it is. Belongs here: what the stage starts from, trains on and leaves behind. Does not belong
here: tokens and order (data/), the loop (loop.py), the first stage (aligned.py), asking the result (evaluation).

Trained weights are held in float32 and stored in the language model's dtype. As for sameness see aligned.py.
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from synthvlm_core.models import vlm
from synthvlm_core.models.vlm import Vlm
from synthvlm_core.parts.section import definition, named
from synthvlm_core.progress import Progress
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.stages import Stage
from synthvlm_core.training.aligned import ProjectorCheckpoint
from synthvlm_core.training.checkpoints import Checkpoint
from synthvlm_core.training.data.instructions import Instructions
from synthvlm_core.training.data.words import Words
from synthvlm_core.training.learning import learn

VERSION = 1
"""Raised when the same inputs and settings give other weights."""
SHARD_SIZE = "400MB"
"""Largest file of a checkpoint: the store puts files whole."""


class VlmCheckpoint(Checkpoint):
    """The tuned model of one variant."""

    name = "vlm_checkpoint"
    over = "variant"

    @classmethod
    def code_version(cls, recipe: Recipe) -> str:
        values = {
            "aligned": ProjectorCheckpoint.code_version(recipe),
            "instructions": recipe.training.instructions,
            "finetune": named(recipe.training.finetune),
        }
        return definition(cls.name, VERSION, values)

    @cached_property
    def aligned(self) -> ProjectorCheckpoint:
        """The projector that tuning starts from."""
        return ProjectorCheckpoint(self.store, self.recipe, self.partition, work=self._work, save_steps=self.save_steps)

    @property
    def needs(self) -> Sequence[Stage]:
        return (self.aligned,)

    @property
    def released(self) -> Synthvlm100k:
        return self.aligned.released

    @cached_property
    def key(self) -> str:
        """As of every checkpoint. The mix counts by the content of its JSON, so that a moved file changes nothing; its
        pictures do not."""
        with self.instructions.open("rb") as file:
            mix = hashlib.file_digest(file, "sha256").hexdigest()
        values = {"aligned": self.aligned.key, "instructions": mix, "finetune": named(self.recipe.training.finetune)}
        return definition(self.name, VERSION, values)

    def load(self) -> Vlm:
        with self.product.local_folder() as folder:
            return vlm.load(folder)

    def train(self, work: Path, out: Path, progress: Progress) -> dict[str, Any]:
        settings = self.recipe.training.finetune
        aligned = self.aligned.manifest
        made = vlm.build(self.recipe, self.variant, settings.image_aspect)
        self.aligned.put_into(made)
        rows = Instructions(
            self.instructions,
            Words(made, settings.max_length, "training.finetune.max_length"),
            work=work / "instructions",
            grouped=settings.group_by_modality_length,
        )
        told = learn(
            made,
            rows,
            self.recipe,
            "finetune",
            parts={"projector", "language_model"},
            work=work,
            save_steps=self.save_steps,
            progress=progress,
        )
        _write(made, out, self.variant.language_model.dtype)
        inputs = {**aligned["inputs"], "projector": aligned["content_hash"]}
        return {**told, "text_only_rows": rows.text_only, "inputs": inputs}


def _write(made: Vlm, out: Path, dtype: str) -> None:
    """The whole model and its processor."""
    import torch

    model = made.model.cpu().to(getattr(torch, dtype))
    model.save_pretrained(out, max_shard_size=SHARD_SIZE)
    made.processor.save_pretrained(out)
