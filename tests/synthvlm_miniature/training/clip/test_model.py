"""A written model loads through open_clip; the shipped weights are as good as their card says."""

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch

from synthvlm_miniature.quality.embedding import Clip
from synthvlm_miniature.training.clip.model import MEAN, MODEL_CONFIG, build_model, encode_text, save
from synthvlm_miniature.training.clip.tokenizer import CONTEXT, tokens_of
from synthvlm_miniature.world.captions import STYLES, caption
from synthvlm_miniature.world.drawing import draw
from synthvlm_miniature.world.edits import edited_captions
from synthvlm_miniature.world.held_out import held_out_scenes

HOSTILE = ["", "</s><s><pad>", "\x00", "👩‍👩‍👧" * 200, "word " * 5000, "ÅÄÖ 漢字 <image>"]


def test_text_without_padding_is_the_same(shipped: Clip) -> None:
    texts = ["a red circle on a white background", "two shapes, a small black ring above a large blue cross"]
    ids = tokens_of(shipped.tokenizer.tokenizer, texts)
    assert ids.shape[1] < CONTEXT
    with torch.inference_mode():
        difference = encode_text(shipped.model, ids) - shipped.texts(texts)
    assert difference.abs().max() < 1e-5


def test_a_written_model_loads_through_open_clip(tokenizer: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model().eval()
    save(model, tokenizer, tmp_path)
    clip = Clip(tmp_path)
    assert clip.tokenizer(["a red circle"]).shape == (1, CONTEXT)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(clip.model.encode_image(images), model.encode_image(images), atol=2e-2)


def test_any_text_has_tokens_and_none_becomes_special(shipped: Clip) -> None:
    ids = shipped.tokenizer(HOSTILE)
    assert ids.shape == (len(HOSTILE), CONTEXT)
    end = MODEL_CONFIG["text_cfg"]["eos_id"]
    assert ((ids == end).sum(dim=1) == 1).all()
    assert torch.isfinite(shipped.texts(HOSTILE)).all()


def test_open_clip_lists_the_right_preprocessing(models: Path) -> None:
    config = open_clip.get_model_preprocess_cfg(open_clip.create_model(f"local-dir:{models / 'clip'}"))
    assert tuple(config["mean"]) == MEAN
    assert config["size"] in (64, (64, 64), [64, 64])


def test_the_shipped_model_is_as_good_as_its_card(shipped: Clip) -> None:
    scenes = held_out_scenes(128)
    rng = np.random.default_rng(0)
    images = shipped.pictures([draw(scene, 64) for scene in scenes])
    texts = [caption(s, rng, STYLES[i % 5], "full") for i, s in enumerate(scenes)]
    cosines = images @ shipped.texts(texts).T
    right = [int((part.argmax(1) == torch.arange(64)).sum()) for part in (cosines[:64, :64], cosines[64:, 64:])]
    assert sum(right) >= 0.95 * 128
    wins: dict[str, list[bool]] = {}
    for image, scene in zip(images, scenes, strict=True):
        pairs = edited_captions(scene, rng)
        scores = shipped.texts([text for pair in pairs.values() for text in pair]) @ image
        for number, kind in enumerate(pairs):
            wins.setdefault(kind, []).append(bool(scores[2 * number] > scores[2 * number + 1]))
    floors = {"colour": 0.95, "shape": 0.9, "size": 0.85, "background": 0.95, "direction": 0.75}
    for kind, floor in floors.items():
        assert np.mean(wins[kind]) >= floor, kind
