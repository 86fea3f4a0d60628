"""What both stages of training do: train some parts of a model on rows, and tell what was done.

Belongs here: the seed and order of a pass, the facts of a run that a manifest keeps. Does not belong here: what a stage
starts from and leaves behind (aligned.py, tuned.py), the loop itself (loop.py).
"""

import importlib.metadata
import logging
from collections.abc import Set
from pathlib import Path
from typing import Any, Literal

from synthvlm_core import hashing
from synthvlm_core.models import vlm, weights
from synthvlm_core.models.vlm import Part, Vlm
from synthvlm_core.progress import Progress
from synthvlm_core.recipe.sections import Recipe, TrainingStage
from synthvlm_core.training.data.order import Ordered, passes
from synthvlm_core.training.data.rows import Rows

log = logging.getLogger(__name__)

PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "safetensors", "pillow", "numpy")


def learn(
    made: Vlm,
    rows: Rows,
    recipe: Recipe,
    section: Literal["align", "finetune"],
    *,
    parts: Set[Part],
    work: Path,
    save_steps: int,
    progress: Progress,
) -> dict[str, Any]:
    """Train parts of a model in place as a section of the recipe's `training` says.

    Args:
        work: local folder for step checkpoints; a run that finds some there goes on from the last.
        save_steps: optimizer steps between step checkpoints.
        progress: called with (section, optimizer steps done, steps to do).

    Returns:
        losses and learning_rates per step, steps, rows, examples, seconds, resumed_from, trained_parameters,
        parameters, precision, note, threads, device, settings, versions.

    Raises:
        TrainingDiverged: if the loss becomes infinite or NaN.
        DataError: if a row cannot be used.
    """
    from synthvlm_core.training import loop

    settings: TrainingStage = getattr(recipe.training, section)
    seed = int(hashing.of_json([section, recipe.seed])[:15], 16)
    order = passes(rows, settings.epochs, seed=[seed], group=settings.global_batch)
    done = loop.train(
        made,
        Ordered(rows, order),
        settings,
        name=section,
        parts=parts,
        work=work,
        seed=seed,
        threads=recipe.threads,
        save_steps=save_steps,
        progress=progress,
    )
    if done.note:
        log.warning("%s: %s", section, done.note)
    return {
        "rows": len(rows),
        "examples": len(order),
        "steps": len(done.losses),
        "losses": done.losses,
        "learning_rates": done.learning_rates,
        "seconds": round(done.seconds, 3),
        "resumed_from": done.resumed_from,
        "trained_parameters": done.trained_parameters,
        "parameters": vlm.parameter_counts(made.model),
        "precision": done.precision,
        "note": done.note,
        "threads": recipe.threads,
        "device": str(weights.device()),
        "settings": settings.model_dump(mode="json"),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
