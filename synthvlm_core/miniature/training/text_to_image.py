"""Trains the miniature text-to-image model: a StableDiffusionXLPipeline that draws the world from captions.

    python -m synthvlm_core.miniature.training.text_to_image --out FOLDER

Belongs here: the tokenizer's training, the configuration of text encoders and denoiser, their two stages,
the pipeline folder that is written.
Does not belong here: the autoencoder (`vae`), measuring a finished pipeline (`quality.text_to_image`).

Stages: the autoencoder; both text encoders alone, asked by a linear read-out that is thrown away for what
stands at each place of the scene and what the caption mentions first, second and third; denoiser and text
encoders together, with the read-out kept as a small second loss. Asked for places alone, on captions of all
kinds, the text encoders knew 2 to 4 % of the test captions of two things wholly after 700 steps alone and 750
with the denoiser; asked for mentions as well, mostly on full captions of several things, 97 % of 128 test
captions after 450 and 300 steps more.

Run time on two shared virtual cores, a process on each: autoencoder 15 minutes (one process), text 5, denoiser
25 to 45. The shipped weights came from these stages, but in pieces: the model card lists them.

Only scenes of the split `train` are used. Same seed, same thread count, same machine: same weights.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from synthvlm_core.miniature import grammar, world
from synthvlm_core.miniature.grammar import Style
from synthvlm_core.miniature.training import vae as autoencoder
from synthvlm_core.miniature.training.vae import Model
from synthvlm_core.miniature.world import Scene, Thing

_DIFFUSERS: Any = diffusers

SEED = 2024
POOL = 48_000
VAE_STEPS = 3400
TEXT_STEPS, TEXT_BATCH = 1000, 64
STEPS, CAPTIONS_PER_BATCH, LEVELS_PER_CAPTION = 3000, 16, 3
SHARES = 2
"""Batches in a step, whose gradients are averaged: one or two processes work on them, with the same result but for
rounding."""
PROCESSES = 2
LENGTH = 48
MERGES_FROM = 4000
NOTHING_SHOWN = 0.1
"""Share of training examples without text, as the pipeline's empty negative prompt has none."""
READOUT_WEIGHT = 0.2
EXTRA_CAPTIONS = 16
NOISY_FROM = 0.75
SEVERAL = 0.5
EMA = 0.999
CAPTION_KINDS: tuple[tuple[Style, grammar.Detail], ...] = (
    ("plain", "full"),
    ("plain", "full"),
    ("plain", "varied"),
    ("laion", "varied"),
    ("cc", "varied"),
    ("sbu", "varied"),
    ("datacomp", "varied"),
)
"""Captions made for each training scene; each is as likely to be used as the others."""
_KEPT = {1: 0.3, 2: 0.7, 3: 1.0}
"""Share of the world's scenes that is trained on, by the number of things: the more things, the harder."""

SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
}
TEXT_1: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 2}
TEXT_2: dict[str, Any] = {"hidden_size": 96, "intermediate_size": 384, "num_hidden_layers": 5, "num_attention_heads": 3}
PROJECTION = 128
TIME_ID_WIDTH = 8
UNET = {
    "sample_size": 8,
    "in_channels": autoencoder.LATENT_CHANNELS,
    "out_channels": autoencoder.LATENT_CHANNELS,
    "block_out_channels": [64, 128],
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "transformer_layers_per_block": 1,
    "attention_head_dim": [2, 4],
    "cross_attention_dim": TEXT_1["hidden_size"] + TEXT_2["hidden_size"],
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": TIME_ID_WIDTH,
    "projection_class_embeddings_input_dim": PROJECTION + 6 * TIME_ID_WIDTH,
    "resnet_time_scale_shift": "scale_shift",
    "norm_num_groups": 16,
    "use_linear_projection": True,
}

_COLOURS, _BACKGROUNDS, _SIZES = tuple(world.COLOURS), tuple(world.BACKGROUNDS), tuple(world.SIZES)
_THING = [len(_COLOURS) + 1, len(world.SHAPES) + 1, len(_SIZES) + 1]
_MENTIONS = 3
_ASKED = [len(_BACKGROUNDS), 4] + _THING * len(world.PLACES) + [*_THING, len(world.PLACES) + 1] * _MENTIONS
"""Number of answers to each question of the read-out: background and count; what stands at each place; what
is mentioned first, second and third, and its place."""
_KNOWN = 2 + 3 * len(world.PLACES)
"""The questions about places and background come first."""


@dataclass(frozen=True)
class Examples:
    """Latents of n scenes (n, 12, 8, 8), tokens of their captions (n, kinds, length), answers to the read-out's
    questions about them (n, kinds, questions)."""

    latents: Tensor
    tokens: Tensor
    answers: Tensor


class ReadOut(nn.Module):
    """Linear questions to both text encoders: what is where. Kept in training only."""

    def __init__(self) -> None:
        super().__init__()
        widths = (TEXT_1["hidden_size"], TEXT_2["hidden_size"], TEXT_2["hidden_size"], PROJECTION)
        self.heads = nn.ModuleList(nn.Linear(width, sum(_ASKED)) for width in widths)

    def forward(self, embeddings: Sequence[Tensor], answers: Tensor) -> Tensor:
        """Mean cross-entropy over heads and questions."""
        answers = answers.long()
        losses = [
            functional.cross_entropy(logits, answers[:, question])
            for head, embedding in zip(self.heads, embeddings, strict=True)
            for question, logits in enumerate(head(embedding).split(_ASKED, dim=1))
        ]
        return torch.stack(losses).mean()

    def accuracy(self, embedding: Tensor, answers: Tensor) -> float:
        """Share of scenes of which the pooled embedding knows everything."""
        parts = self.heads[-1](embedding).split(_ASKED, dim=1)[:_KNOWN]
        right = torch.stack([part.argmax(dim=1) for part in parts], dim=1) == answers[:, :_KNOWN]
        return right.all(dim=1).float().mean().item()


def answers(scene: Scene, text: str) -> list[int]:
    """The read-out's right answers for a caption of a scene; the last answer to a question is "nothing"."""
    nothing = [len(_COLOURS), len(world.SHAPES), len(_SIZES)]
    there = {thing.place: thing for thing in scene.things}
    right = [_BACKGROUNDS.index(scene.background), scene.count]
    for place in world.PLACES:
        right += _attributes(there[place]) if place in there else nothing
    lowered = text.lower()
    mentioned = sorted(scene.things, key=lambda thing: lowered.find(f"{thing.colour} {thing.shape}"))
    for thing in mentioned:
        right += [*_attributes(thing), world.PLACES.index(thing.place)]
    return right + [*nothing, len(world.PLACES)] * (_MENTIONS - scene.count)


def _attributes(thing: Thing) -> list[int]:
    return [_COLOURS.index(thing.colour), world.SHAPES.index(thing.shape), _SIZES.index(thing.size)]


def scenes(seed: int, n: int) -> list[Scene]:
    """Training scenes, with more of the scenes of several things than the world has."""
    rng = np.random.default_rng([seed, 21])
    drawn: list[Scene] = []
    while len(drawn) < n:
        scene = world.sample_scene(rng, "train")
        if rng.random() < _KEPT[scene.count]:
            drawn.append(scene)
    return drawn


def train_tokenizer(texts: Sequence[str]) -> CLIPTokenizer:
    """A CLIPTokenizer with the merges of the texts; all 256 bytes are in it, so nothing is unknown."""
    shape = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    learner.normalizer, learner.pre_tokenizer = shape.normalizer, shape.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=1200,
            min_frequency=5,
            end_of_word_suffix="</w>",
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    merges: Any = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    words = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    words += [word for word in dict.fromkeys("".join(pair) for pair in merges) if word not in set(words)]
    vocabulary = {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Token numbers, padded and cut to `LENGTH`, as the pipeline makes them."""
    found = tokenizer(texts, padding="max_length", max_length=LENGTH, truncation=True)
    return torch.tensor(found["input_ids"], dtype=torch.int16)


def make_examples(vae: Model, tokenizer: CLIPTokenizer, seed: int, n: int, device: torch.device) -> Examples:
    """Draw and encode n training scenes and word each of them in every kind of caption."""
    drawn = scenes(seed, n)
    latents = [
        autoencoder.encode(vae, autoencoder.pictures(drawn[at : at + 1024]), device).half() for at in range(0, n, 1024)
    ]
    texts = caption_texts(drawn, seed)
    return Examples(torch.cat(latents), tokenize_all(tokenizer, texts), answer_tensor(drawn, texts))


def caption_texts(drawn: list[Scene], seed: int) -> list[list[str]]:
    """All kinds of captions of each scene."""
    rng = np.random.default_rng([seed, 22])
    return [[grammar.caption(scene, rng, style, detail) for style, detail in CAPTION_KINDS] for scene in drawn]


def tokenize_all(tokenizer: CLIPTokenizer, texts: list[list[str]]) -> Tensor:
    """Tokens of all captions: (scenes, kinds, length)."""
    return tokenize(tokenizer, [text for row in texts for text in row]).view(len(texts), -1, LENGTH)


def answer_tensor(drawn: list[Scene], texts: list[list[str]]) -> Tensor:
    """The read-out's answers for all captions: (scenes, kinds, questions)."""
    rows = [[answers(scene, text) for text in row] for scene, row in zip(drawn, texts, strict=True)]
    return torch.tensor(rows, dtype=torch.int8)


@dataclass
class Parts:
    """What is trained here: two text encoders, the denoiser and the read-out."""

    text_1: Model
    text_2: Model
    unet: Model
    readout: ReadOut

    @classmethod
    def build(cls, tokenizer: CLIPTokenizer, seed: int, device: torch.device) -> "Parts":
        torch.manual_seed(seed)
        shared: dict[str, Any] = {
            "vocab_size": len(tokenizer),
            "max_position_embeddings": LENGTH,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "hidden_act": "gelu",
        }
        text_1: Model = CLIPTextModel(CLIPTextConfig(**shared, **TEXT_1))
        text_2: Model = CLIPTextModelWithProjection(CLIPTextConfig(**shared, **TEXT_2, projection_dim=PROJECTION))
        unet = _DIFFUSERS.UNet2DConditionModel(**UNET).to(memory_format=torch.channels_last)
        return cls(text_1.to(device), text_2.to(device), unet.to(device), ReadOut().to(device))

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {"text_1": self.text_1, "text_2": self.text_2, "unet": self.unet, "readout": self.readout}

    @property
    def state(self) -> dict[str, Any]:
        return {name: module.state_dict() for name, module in self.modules.items()}

    def load(self, state: dict[str, Any]) -> None:
        for name, module in self.modules.items():
            module.load_state_dict(state[name])

    def text_parameters(self) -> list[nn.Parameter]:
        modules = (self.text_1, self.text_2, self.readout)
        return [parameter for module in modules for parameter in module.parameters()]

    def read(self, tokens: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """As the pipeline conditions: sequence, pooled embedding; and the embeddings that are asked."""
        tokens = tokens.long()
        first = self.text_1(tokens, output_hidden_states=True).hidden_states[-2]
        second = self.text_2(tokens, output_hidden_states=True)
        end = tokens.eq(self.text_2.config.eos_token_id).int().argmax(dim=1)
        rows = torch.arange(len(tokens), device=tokens.device)
        hidden = second.hidden_states[-2]
        asked = [first[rows, end], second.hidden_states[-3][rows, end], hidden[rows, end], second.text_embeds]
        return torch.cat([first, hidden], dim=-1), second.text_embeds, asked


class _CaptionDraw:
    """Chooses captions for the read-out: mostly of several things and with every attribute said."""

    def __init__(self, right: Tensor) -> None:
        self.several = np.nonzero(right[:, 0, 1].numpy() > 1)[0]
        self.shape = right.shape

    def scenes(self, rng: np.random.Generator, n: int) -> Tensor:
        """Numbers of scenes, mostly of several things."""
        anywhere = rng.integers(self.shape[0], size=n)
        if not len(self.several):
            return torch.from_numpy(anywhere)
        several = self.several[rng.integers(len(self.several), size=n)]
        return torch.from_numpy(np.where(rng.random(n) < SEVERAL, several, anywhere))

    def __call__(self, rng: np.random.Generator, n: int) -> tuple[Tensor, Tensor]:
        """Numbers of scenes and of the captions' kinds."""
        kinds = np.where(rng.random(n) < 0.6, rng.integers(2, size=n), rng.integers(self.shape[1], size=n))
        return self.scenes(rng, n), torch.from_numpy(kinds)


def train_text(parts: Parts, examples: Examples, steps: int, seed: int, device: torch.device) -> list[float]:
    """Text encoders and read-out alone; returns the loss of every step."""
    optimizer = torch.optim.AdamW(parts.text_parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    losses: list[float] = []
    started = time.process_time()
    draw = _CaptionDraw(examples.answers)
    for step in range(steps):
        for share in _shares():
            chosen, kinds = draw(np.random.default_rng([seed, 23, step, share]), TEXT_BATCH)
            found = examples.answers[chosen, kinds].to(device)
            asked = parts.read(examples.tokens[chosen, kinds].to(device))[2]
            loss = parts.readout(asked, found)
            loss.backward()
        _update(optimizer, autoencoder.learning_rate(step, steps, 1.5e-3, 0.3))
        losses.append(loss.item())
        if step % 50 == 49 and _is_first():
            known = parts.readout.accuracy(asked[-1], found)
            _say("text", step + 1, losses, started, f"whole scenes known {known:.2f}")
    return losses


def train_denoiser(
    parts: Parts,
    examples: Examples,
    steps: int,
    seed: int,
    device: torch.device,
    work: Path | None = None,
    keep_every: int = 1000,
) -> tuple[Parts, list[float]]:
    """Denoiser and text encoders together; returns the averaged weights and the loss of every step.

    With a `work` folder the state is kept there now and then and a later call goes on from it, with as many
    processes as it likes.
    """
    groups = [
        {"params": list(parts.unet.parameters()), "highest": 1.5e-3},
        {"params": parts.text_parameters(), "highest": 5e-4},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    average = deepcopy(parts)
    weights: list[Tensor] = [parameter for module in parts.modules.values() for parameter in module.parameters()]
    means: list[Tensor] = [parameter for module in average.modules.values() for parameter in module.parameters()]
    state = None if work is None else work / "denoiser.pt"
    first = 0
    if state is not None and state.exists():
        kept = torch.load(state, map_location=device, weights_only=True)
        parts.load(kept["parts"])
        average.load(kept["average"])
        optimizer.load_state_dict(kept["optimizer"])
        first = kept["step"]
    signal = _DIFFUSERS.DDIMScheduler(**SCHEDULER).alphas_cumprod.to(device)
    draw = _CaptionDraw(examples.answers)
    losses: list[float] = []
    started = time.process_time()
    for step in range(first, steps):
        for share in _shares():
            rng = np.random.default_rng([seed, 24, step, share])
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss, readout_loss = _denoising_loss(parts, examples, draw, signal, rng, device)
                chosen, kinds = draw(rng, EXTRA_CAPTIONS)
                asked = parts.read(examples.tokens[chosen, kinds].to(device))[2]
                readout_loss = readout_loss + parts.readout(asked, examples.answers[chosen, kinds].to(device))
            (loss + READOUT_WEIGHT * readout_loss).backward()
        for group in optimizer.param_groups:
            group["lr"] = autoencoder.learning_rate(step, steps, group["highest"], 0.3)
        _update(optimizer)
        with torch.no_grad():
            torch._foreach_lerp_(means, weights, 1 - min(EMA, (step + 1) / (step + 10)))
        losses.append(loss.item())
        if step % 100 == 99 and _is_first():
            _say("denoiser", step + 1, losses, started, f"readout {readout_loss.item():.3f}")
        if state is not None and _is_first() and ((step + 1) % keep_every == 0 or step + 1 == steps):
            kept = {
                "parts": parts.state,
                "average": average.state,
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
            }
            torch.save(kept, state.with_suffix(".new"))
            state.with_suffix(".new").replace(state)
    return average, losses


def _denoising_loss(
    parts: Parts, examples: Examples, draw: _CaptionDraw, signal: Tensor, rng: np.random.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Squared error of the predicted velocity, each caption at several noise levels; and the read-out's loss."""
    chosen = draw.scenes(rng, CAPTIONS_PER_BATCH)
    kinds = torch.from_numpy(rng.integers(examples.tokens.shape[1], size=CAPTIONS_PER_BATCH))
    sequence, pooled, asked = parts.read(examples.tokens[chosen, kinds].to(device))
    readout_loss = parts.readout(asked, examples.answers[chosen, kinds].to(device))
    shown = torch.from_numpy(rng.random(CAPTIONS_PER_BATCH) >= NOTHING_SHOWN).to(device)
    sequence, pooled = sequence * shown[:, None, None], pooled * shown[:, None]

    size = CAPTIONS_PER_BATCH * LEVELS_PER_CAPTION
    sequence, pooled = (part.repeat_interleave(LEVELS_PER_CAPTION, dim=0) for part in (sequence, pooled))
    clean = examples.latents[chosen].to(device).float().repeat_interleave(LEVELS_PER_CAPTION, dim=0)
    even = (rng.permutation(size) + rng.random(size)) / size
    # Half of the levels are so noisy that text alone tells what is where; with less noise the picture tells it
    levels = np.where(even < 0.5, 2 * even, NOISY_FROM + (1 - NOISY_FROM) * (2 * even - 1))
    times = torch.from_numpy((levels * len(signal)).astype(np.int64)).to(device)
    noise = torch.from_numpy(rng.standard_normal(tuple(clean.shape), dtype=np.float32)).to(device)
    kept, added = signal[times].sqrt()[:, None, None, None], (1 - signal[times]).sqrt()[:, None, None, None]
    time_ids = torch.tensor(TIME_IDS, device=device, dtype=torch.float32).repeat(size, 1)
    made = parts.unet(
        (kept * clean + added * noise).contiguous(memory_format=torch.channels_last),
        times,
        sequence,
        added_cond_kwargs={"text_embeds": pooled, "time_ids": time_ids},
        return_dict=False,
    )[0]
    return functional.mse_loss(made.float(), kept * noise - added * clean), readout_loss


TIME_IDS = [autoencoder.RESOLUTION, autoencoder.RESOLUTION, 0, 0, autoencoder.RESOLUTION, autoencoder.RESOLUTION]
"""SDXL's original size, crop and target size: always the same here."""


def assemble(vae: Model, tokenizer: CLIPTokenizer, parts: Parts) -> Model:
    """The pipeline of the trained parts."""
    pipeline = _DIFFUSERS.StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=parts.text_1,
        text_encoder_2=parts.text_2,
        tokenizer=tokenizer,
        tokenizer_2=deepcopy(tokenizer),
        unet=parts.unet,
        scheduler=_DIFFUSERS.DDIMScheduler(**SCHEDULER),
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
    halves = {
        name: deepcopy(getattr(pipeline, name)).to("cpu", torch.float16, memory_format=torch.contiguous_format)
        for name in modules
    }
    _DIFFUSERS.StableDiffusionXLPipeline(
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


def train(
    out: Path,
    steps: int = STEPS,
    text_steps: int = TEXT_STEPS,
    vae_steps: int = VAE_STEPS,
    pool: int = POOL,
    seed: int = SEED,
    processes: int = PROCESSES,
    work: Path | None = None,
) -> dict[str, list[float]]:
    """All stages; writes the pipeline to `out` and returns the losses of each stage.

    With a `work` folder, a call that was interrupted is continued by the same call.
    """
    if work is None:
        with tempfile.TemporaryDirectory() as folder:
            return train(out, steps, text_steps, vae_steps, pool, seed, processes, Path(folder))
    work.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    vae, vae_losses = autoencoder.train(vae_steps, seed, device, min(pool, autoencoder.POOL), work / "vae")
    tokenizer = train_tokenizer(list(_tokenizer_texts(seed)))
    tokenizer.save_pretrained(work / "tokenizer")
    if not (work / "examples.pt").exists():
        torch.save(vars(make_examples(vae, tokenizer, seed, pool, device)), work / "examples.pt")
    (work / "meeting").unlink(missing_ok=True)
    job = (processes, work, text_steps, steps, seed, torch.get_num_threads())
    if processes > 1:
        spawn(_train_in_process, job, processes)  # type: ignore[no-untyped-call]
    else:
        _train_in_process(0, *job)
    parts = Parts.build(tokenizer, seed, torch.device("cpu"))
    parts.load(torch.load(work / "average.pt", weights_only=True))
    save(assemble(vae.cpu(), tokenizer, parts), out)
    return {"vae": vae_losses, **json.loads((work / "losses.json").read_text())}


def _train_in_process(
    rank: int, processes: int, work: Path, text_steps: int, steps: int, seed: int, threads: int
) -> None:
    """The stages behind the autoencoder, as one of several processes; the first leaves `average.pt` in `work`."""
    torch.set_num_threads(threads)
    device = (
        torch.device("cuda", rank % torch.cuda.device_count()) if torch.cuda.is_available() else torch.device("cpu")
    )
    if processes > 1:
        meeting = (work / "meeting").absolute()
        distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=processes)
    parts = Parts.build(CLIPTokenizer.from_pretrained(work / "tokenizer"), seed, device)
    examples = Examples(**torch.load(work / "examples.pt", weights_only=True))
    state = work / "text.pt"
    losses: dict[str, list[float]] = {"text": []}
    if state.exists():
        parts.load(torch.load(state, map_location=device, weights_only=True))
    else:
        losses["text"] = train_text(parts, examples, text_steps, seed, device)
        if rank == 0:
            torch.save(parts.state, state)
    average, losses["denoiser"] = train_denoiser(parts, examples, steps, seed, device, work)
    if rank == 0:
        torch.save(average.state, work / "average.pt")
        (work / "losses.json").write_text(json.dumps(losses))
    if processes > 1:
        distributed.barrier()
        distributed.destroy_process_group()


def _tokenizer_texts(seed: int) -> Iterator[str]:
    rng = np.random.default_rng([seed, 25])
    for scene in scenes(seed, MERGES_FROM):
        for style in grammar.STYLES:
            yield grammar.caption(scene, rng, style)


def _shares() -> range:
    """The batches of a step that this process works on."""
    if not distributed.is_initialized():
        return range(SHARES)
    return range(distributed.get_rank(), SHARES, distributed.get_world_size())


def _is_first() -> bool:
    return not distributed.is_initialized() or distributed.get_rank() == 0


def _update(optimizer: torch.optim.Optimizer, rate: float | None = None) -> None:
    """A step along the mean gradient of all shares."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if rate is not None:
        for group in optimizer.param_groups:
            group["lr"] = rate
    _sum_gradients(parameters)
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad /= SHARES
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _sum_gradients(parameters: Sequence[Tensor]) -> None:
    """Over the processes of the group; parameters that the loss does not reach have none in any of them."""
    if not distributed.is_initialized():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    for gradient, part in zip(gradients, torch.split(flat, [gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def _say(stage: str, step: int, losses: list[float], started: float, more: str) -> None:
    recent = sum(losses[-100:]) / len(losses[-100:])
    seconds = time.process_time() - started
    print(f"{stage} step {step} loss {recent:.4f} {more} cpu {seconds:.0f}s", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the pipeline")
    parser.add_argument("--work", type=Path, help="folder for intermediate states, to continue from")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of the denoiser")
    parser.add_argument("--text-steps", type=int, default=TEXT_STEPS)
    parser.add_argument("--vae-steps", type=int, default=VAE_STEPS)
    parser.add_argument("--pool", type=int, default=POOL, help="number of training scenes")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--processes", type=int, default=PROCESSES, help="share the later stages, a batch for each")
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads of a process; results depend on it slightly"
    )
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    train(
        chosen.out,
        chosen.steps,
        chosen.text_steps,
        chosen.vae_steps,
        chosen.pool,
        chosen.seed,
        chosen.processes,
        chosen.work,
    )


if __name__ == "__main__":
    main()
