"""All stages in order, in one or two processes.

Belongs here: what each stage hands to the next, and where an interrupted call goes on. Does not belong here: any stage
(autoencoder_stage.py, text_stage.py, denoiser_stage.py).
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.multiprocessing.spawn import spawn
from transformers import CLIPTokenizer

from synthvlm_miniature.training import optimization
from synthvlm_miniature.training.text_to_image import autoencoder_stage, processes
from synthvlm_miniature.training.text_to_image.denoiser_stage import train_denoiser
from synthvlm_miniature.training.text_to_image.examples import Examples, make_examples, scenes
from synthvlm_miniature.training.text_to_image.parts import Parts
from synthvlm_miniature.training.text_to_image.pipeline import assemble, save
from synthvlm_miniature.training.text_to_image.settings import Settings
from synthvlm_miniature.training.text_to_image.text_stage import train_text
from synthvlm_miniature.training.text_to_image.tokenizer import train_tokenizer
from synthvlm_miniature.world.captions import STYLES, caption

MERGES_FROM = 4000
"""Scenes whose captions the tokenizer learns."""


def train(settings: Settings, out: Path, work: Path | None = None) -> dict[str, list[float]]:
    """All stages; writes the pipeline to `out` and returns the losses of each stage: `vae`, `text`, `denoiser`.

    With a `work` folder, a call that was interrupted is continued by the same call.
    """
    if work is None:
        with tempfile.TemporaryDirectory() as folder:
            return train(settings, out, Path(folder))
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(settings.threads)
    device = optimization.device()
    pictured = min(settings.pool, settings.autoencoder_pool)
    vae, vae_losses = autoencoder_stage.train(settings.vae_steps, settings.seed, device, pictured, work / "vae")
    tokenizer = train_tokenizer(list(_tokenizer_texts(settings.seed)))
    tokenizer.save_pretrained(work / "tokenizer")
    if not (work / "examples.pt").exists():
        examples = make_examples(vae, tokenizer, settings.seed, settings.pool, device)
        torch.save(vars(examples), work / "examples.pt")
    (work / "meeting").unlink(missing_ok=True)
    if settings.processes > 1:
        spawn(_train_in_process, (settings, work), settings.processes)  # type: ignore[no-untyped-call]
    else:
        _train_in_process(0, settings, work)
    parts = Parts.build(tokenizer, settings.seed, torch.device("cpu"))
    parts.load(torch.load(work / "average.pt", weights_only=True))
    save(assemble(vae.cpu(), tokenizer, parts), out)
    return {"vae": vae_losses, **json.loads((work / "losses.json").read_text())}


def _train_in_process(rank: int, settings: Settings, work: Path) -> None:
    """The stages behind the autoencoder, as one of several processes; the first leaves `average.pt` in `work`."""
    torch.set_num_threads(settings.threads)
    cards = torch.cuda.device_count()
    device = torch.device("cuda", rank % cards) if cards else torch.device("cpu")
    processes.join(rank, settings.processes, work / "meeting")
    parts = Parts.build(CLIPTokenizer.from_pretrained(work / "tokenizer"), settings.seed, device)
    examples = Examples(**torch.load(work / "examples.pt", weights_only=True))
    state = work / "text.pt"
    losses: dict[str, list[float]] = {"text": []}
    if state.exists():
        parts.load(torch.load(state, map_location=device, weights_only=True))
    else:
        losses["text"] = train_text(parts, examples, settings, device)
        if processes.is_first():
            torch.save(parts.state, state)
    average, losses["denoiser"] = train_denoiser(parts, examples, settings, device, work)
    if processes.is_first():
        torch.save(average.state, work / "average.pt")
        (work / "losses.json").write_text(json.dumps(losses))
    processes.leave()


def _tokenizer_texts(seed: int) -> Iterator[str]:
    rng = np.random.default_rng([seed, 25])
    for scene in scenes(seed, MERGES_FROM):
        for style in STYLES:
            yield caption(scene, rng, style)
