from dataclasses import replace
from pathlib import Path

import numpy as np

from synthvlm_miniature.quality import generation
from synthvlm_miniature.quality.generation import Manner
from synthvlm_miniature.training.text_to_image.settings import Settings
from synthvlm_miniature.training.text_to_image.stages import train

TINY = Settings(
    pool=96,
    vae_steps=30,
    text_steps=30,
    text_batch=32,
    steps=30,
    captions_per_batch=8,
    levels_per_caption=2,
    extra_captions=4,
    processes=1,
)


def test_a_tiny_run_learns_and_writes_a_pipeline(tmp_path: Path) -> None:
    work = tmp_path / "work"
    losses = train(TINY, tmp_path / "made", work)
    for stage in ("vae", "text", "denoiser"):
        assert len(losses[stage]) == 30
        assert np.mean(losses[stage][-6:]) < 0.95 * np.mean(losses[stage][:6]), stage
    pipeline = generation.load(tmp_path / "made")
    assert type(pipeline).__name__ == "StableDiffusionXLPipeline"
    drawn = generation.draw(pipeline, ["a red circle"], seed=0, manner=Manner(guidance_scale=1.0, steps=2))
    assert drawn.shape == (1, 64, 64, 3)
    assert not list((tmp_path / "made").rglob("*.bin"))
    assert train(TINY, tmp_path / "again", work) == {"vae": [], "text": [], "denoiser": []}


def test_two_processes_train_together(tmp_path: Path) -> None:
    short = replace(TINY, pool=32, vae_steps=2, text_steps=2, steps=2)
    together = train(replace(short, processes=2), tmp_path / "two")
    alone = train(short, tmp_path / "one")
    # A process tells the loss of its own last batch; the first one works on the first half of each step
    assert len(together["denoiser"]) == len(alone["denoiser"]) == 2
    assert together["vae"] == alone["vae"]
