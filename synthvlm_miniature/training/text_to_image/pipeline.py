"""The finished pipeline, and the folder that diffusers loads it from.

Belongs here: putting the trained parts together, writing `text-to-image`. Does not belong here: loading it to draw
(synthvlm_miniature.quality.generation, synthvlm_core.images).
"""

import json
import shutil
from copy import deepcopy
from pathlib import Path

from transformers import CLIPTokenizer

from synthvlm_miniature.training.saving import half
from synthvlm_miniature.training.text_to_image.autoencoder import DIFFUSERS, Model
from synthvlm_miniature.training.text_to_image.parts import Parts
from synthvlm_miniature.training.text_to_image.shapes import SCHEDULER


def assemble(vae: Model, tokenizer: CLIPTokenizer, parts: Parts) -> Model:
    """The pipeline of the trained parts."""
    pipeline = DIFFUSERS.StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=parts.text_1,
        text_encoder_2=parts.text_2,
        tokenizer=tokenizer,
        tokenizer_2=deepcopy(tokenizer),
        unet=parts.unet,
        scheduler=DIFFUSERS.DDIMScheduler(**SCHEDULER),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save(pipeline: Model, out: Path) -> None:
    """Write the pipeline in half precision, weights as safetensors only."""
    modules = ("vae", "text_encoder", "text_encoder_2", "unet")
    for name in modules:
        shutil.rmtree(out / name, ignore_errors=True)
    halves = {name: half(getattr(pipeline, name)) for name in modules}
    DIFFUSERS.StableDiffusionXLPipeline(
        **halves,
        tokenizer=pipeline.tokenizer,
        tokenizer_2=pipeline.tokenizer_2,
        scheduler=pipeline.scheduler,
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    ).save_pretrained(out, safe_serialization=True)
    for config in out.glob("*/config.json"):
        said = json.loads(config.read_text())
        said.pop("_name_or_path", None)  # a folder of the machine that trained
        config.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n")
