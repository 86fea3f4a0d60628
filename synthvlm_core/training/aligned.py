"""Stage projector_checkpoint: align a fresh projector on a released set.

    pairs of the variant's set  ->  projector.safetensors, config.json

Vision tower and language model stay as they are. Belongs here: what the stage starts from, trains on and leaves behind.
Does not belong here: selecting and releasing (the set is there or the stage does not begin), tokens and order (data/),
the loop (loop.py), the second stage (tuned.py).

On one machine, wheels and thread count the weights are the same bit for bit, however often a run was killed: the order
of rows follows from the recipe's seed, and a step checkpoint restores everything else.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from synthvlm_core.errors import Mendable
from synthvlm_core.models import vlm, weights
from synthvlm_core.models.vlm import Vlm
from synthvlm_core.parts.section import definition, named
from synthvlm_core.progress import Progress
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.stages import Stage
from synthvlm_core.training.checkpoints import Checkpoint
from synthvlm_core.training.data.pairs import Pairs
from synthvlm_core.training.data.words import Words
from synthvlm_core.training.learning import learn

VERSION = 1
"""Raised when the same inputs and settings give other weights."""
PROJECTOR = "projector.safetensors"
_LATER = ("instructions", "finetune", "variants")
"""Keys of `training` that the projector does not depend on."""


class MisfitProjector(Mendable):
    """Stored weights of a projector that the recipe's models do not take; the message says what was found."""


class ProjectorCheckpoint(Checkpoint):
    """The aligned projector of one variant."""

    name = "projector_checkpoint"
    over = "variant"

    @classmethod
    def code_version(cls, recipe: Recipe) -> str:
        training = recipe.training
        values = {
            "seed": recipe.seed,
            "training": named(training, leave_out=_LATER),
            "variants": [named(variant) for variant in training.variants],
        }
        return definition(cls.name, VERSION, values)

    @cached_property
    def released(self) -> Synthvlm100k:
        """The variant's set."""
        return Synthvlm100k(self.store, self.recipe, self.variant.selection)

    @property
    def needs(self) -> Sequence[Stage]:
        return (self.released,)

    @cached_property
    def key(self) -> str:
        identify = weights.identify(self.recipe.folder)
        speaking = f"training.variants.{self.partition}.language_model"
        values = {
            "seed": self.recipe.seed,
            "set": self.released.manifest["content_hash"],
            "training": named(self.recipe.training, weights=identify, leave_out=_LATER, key="training"),
            "language_model": identify(self.variant.language_model, speaking),
        }
        return definition(self.name, VERSION, values)

    def load(self) -> Vlm:
        made = vlm.build(self.recipe, self.variant, self.recipe.training.align.image_aspect)
        self.put_into(made)
        return made

    def put_into(self, made: Vlm) -> None:
        """Put the stored projector, bytes proved, into a model.

        Raises:
            NotMaterialized: if it is not there yet.
            DamagedProduct: if it is gone or altered.
            MisfitProjector: if it does not fit.
        """
        from safetensors.torch import load

        projector = made.model.model.multi_modal_projector
        stored = load(self.product.get(PROJECTOR))
        expected = {name: tuple(value.shape) for name, value in projector.state_dict().items()}
        found = {name: tuple(value.shape) for name, value in stored.items()}
        if expected != found:
            place = self.store.unstrip(f"{self.path}/{PROJECTOR}")
            raise MisfitProjector(f"{place}: holds {found}, the model needs {expected}; delete it and align again")
        projector.load_state_dict(stored)

    def train(self, work: Path, out: Path, progress: Progress) -> dict[str, Any]:
        settings = self.recipe.training.align
        made = vlm.build(self.recipe, self.variant, settings.image_aspect)
        with self.released.parquet_files() as files:
            told = learn(
                made,
                Pairs(files, Words(made, settings.max_length, "training.align.max_length")),
                self.recipe,
                "align",
                parts={"projector"},
                work=work,
                save_steps=self.save_steps,
                progress=progress,
            )
        _write(made, out)
        return {**told, "inputs": {"release_content_hash": self.released.manifest["content_hash"]}}


def _write(made: Vlm, out: Path) -> None:
    """The projector's weights, and what they fit."""
    from safetensors.torch import save_file

    projector = made.model.model.multi_modal_projector
    config = made.model.config
    state = {name: value.detach().cpu().contiguous() for name, value in projector.state_dict().items()}
    save_file(state, out / PROJECTOR, metadata={"format": "pt"})
    described = {
        "projector": "mlp2x_gelu",
        "vision_hidden_size": config.vision_config.hidden_size,
        "text_hidden_size": config.text_config.hidden_size,
        "vision_feature_layer": config.vision_feature_layer,
        "vision_feature_select_strategy": config.vision_feature_select_strategy,
        "image_tokens": made.image_tokens,
    }
    (out / "config.json").write_text(json.dumps(described, indent=2) + "\n")
