"""Tiny text-to-image pipelines from random weights in the real folder layout, recipes that draw with them or paint."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import GENERATORS, PAINTER, Painter, filter_captions, registered

from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store

SOURCE = "laion"
TOKENS = 24
"""What the tiny encoders see, start and end included: a character is a token, so that truncation is easy to reach."""


def tokenizer() -> Any:
    from transformers import CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"
    symbols = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {symbol: number for number, symbol in enumerate(symbols)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=TOKENS)


def text_encoder(cls: Any, words: Any) -> Any:
    from transformers import CLIPTextConfig

    return cls(
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=32,
            intermediate_size=37,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            projection_dim=32,
            bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        )
    )


def unet(cross_attention: int, time_ids: int) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 1),
        projection_class_embeddings_input_dim=time_ids * 8 + 32,
        cross_attention_dim=cross_attention,
        norm_num_groups=8,
    )


def vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
    )


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base`, a StableDiffusionXLPipeline for 64x64 pixels, and `refiner`, the img2img to finish it."""
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("pipelines")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        words = tokenizer()
        first, second = text_encoder(CLIPTextModel, words), text_encoder(CLIPTextModelWithProjection, words)
        shared = {
            "vae": vae(),
            "text_encoder_2": second,
            "tokenizer_2": words,
            "scheduler": EulerDiscreteScheduler(beta_schedule="scaled_linear", timestep_spacing="leading"),
            "add_watermarker": False,
        }
        StableDiffusionXLPipeline(text_encoder=first, tokenizer=words, unet=unet(64, 6), **shared).save_pretrained(
            folder / "base"
        )
        StableDiffusionXLImg2ImgPipeline(
            text_encoder=None, tokenizer=None, unet=unet(32, 5), requires_aesthetics_score=True, **shared
        ).save_pretrained(folder / "refiner")
    return folder


@pytest.fixture
def drawing(small_recipe: Recipe, pipelines: Path, edited: Callable[..., Recipe]) -> Recipe:
    """The small recipe over the tiny base pipeline: 64x64 pixels, two images per caption, batches of four."""
    return edited(
        small_recipe,
        {
            "generator.model": {"id": str(pipelines / "base")},
            "generator.steps": 2,
            "generator.images_per_caption": 2,
            "generator.batch_size": 4,
            "generator.encoding": {"format": "png"},
            "generator.health": {"min_std": 2.0, "max_attempts": 3, "max_unhealthy_share": 0.02},
        },
    )


@pytest.fixture
def painting(small_recipe: Recipe, edited: Callable[..., Recipe]) -> Iterator[Recipe]:
    """The small recipe with a painter, where only the order of work is tested: two images per caption, batches of
    four."""
    with registered(GENERATORS, Painter):
        Painter.requests.clear()
        yield edited(small_recipe, {"generator": PAINTER})


@pytest.fixture
def filtered(store: Store, small_recipe: Recipe) -> Store:
    """A store with the filtered captions of both sources."""
    filter_captions(store, small_recipe)
    return store
