"""What must hold for checkpoints, found out from the stored files alone.

Belongs here: properties of projector_checkpoint and vlm_checkpoint, each as a Finding with its numbers. Does not belong
here: what an answer is worth (evaluation/checks.py), what happens when one fails (synthvlm_assets).
"""

from typing import Any

from PIL import Image

from synthvlm_core.findings import Finding
from synthvlm_core.models import vlm
from synthvlm_core.training.asking import ask
from synthvlm_core.training.checkpoints import Checkpoint
from synthvlm_core.training.tuned import VlmCheckpoint

COLOURS = ("red", "green", "blue", "white")
QUESTIONS = ("What is this?", "Describe the picture.")
LONGEST_ANSWER = 16
"""Tokens of an answer that is only to be seen to be there."""


def files_match_manifest(stage: Checkpoint) -> Finding:
    """Every file that the manifest names has the bytes it names."""
    files, wrong = stage.product.files, stage.product.damage()
    return Finding(
        not wrong, "; ".join(wrong) or f"{len(files)} files as written", {"files": len(files), "damaged": len(wrong)}
    )


def loss_fell(stage: Checkpoint) -> Finding:
    """The mean of the last tenth of the steps is below that of the first."""
    losses = stage.manifest["losses"]
    some = max(1, len(losses) // 10)
    first, last = sum(losses[:some]) / some, sum(losses[-some:]) / some
    return Finding(
        last < first,
        f"loss {first:.3f} at the start, {last:.3f} at the end of {len(losses)} steps",
        {"first": first, "last": last, "steps": len(losses)},
    )


def checkpoint_loads_and_answers(stage: Checkpoint) -> Finding:
    """The stored files make a model: a projector fits into its model, a whole VLM says something about a picture."""
    _ = stage.product  # that there is no checkpoint yet is no finding
    try:
        made = stage.load()
    except Exception as error:  # noqa: BLE001  # whatever a broken file raises is the finding
        return Finding(False, f"does not load: {type(error).__name__}: {error}"[:500])
    numbers: dict[str, Any] = {"parameters": vlm.parameter_counts(made.model)["total"]}
    broken = [name for name, value in made.model.named_parameters() if not bool(value.isfinite().all())]
    if broken:
        return Finding(False, f"{len(broken)} weights are no numbers, the first {broken[0]}", numbers)
    if not isinstance(stage, VlmCheckpoint):
        return Finding(True, "the projector fits its model", numbers)
    size = made.model.config.vision_config.image_size
    asked = [(Image.new("RGB", (size, size), colour), question) for question in QUESTIONS for colour in COLOURS]
    answers = ask(
        made,
        [picture for picture, _ in asked],
        [question for _, question in asked],
        batch_size=stage.recipe.evaluation.batch_size,
        max_new_tokens=min(stage.recipe.evaluation.max_new_tokens, LONGEST_ANSWER),
    )
    said = sum(bool(answer) for answer in answers)
    shown = ", ".join(repr(answer[:40]) for answer in answers[:4])
    return Finding(said > 0, f"{said} of {len(answers)} questions answered: {shown}", {**numbers, "answered": said})
