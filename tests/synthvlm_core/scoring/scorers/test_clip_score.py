"""CLIPScore against the straightforward formula, pair by pair, over both layouts of weights."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from tiny_clip import LONG, MEAN, STD, picture, save_transformers_clip

from synthvlm_core.errors import RecipeError
from synthvlm_core.parts.section import Model
from synthvlm_core.recipe import loading as recipes
from synthvlm_core.scoring.scorers.clip_score import ClipScore, ClipScorer

pytestmark = pytest.mark.model

BOUND = ClipScore.bound
CAPTIONS = ["a red circle", "a dog on a bicycle", "Café &amp; crème, 3 × 4", "", LONG]
IMAGES = [picture(0), picture(1, 64, 40), picture(2, 33, 90), picture(3, 32, 32), picture(4)]


def scorer(folder: Path, **changes: Any) -> ClipScorer:
    values: dict[str, Any] = {
        "score": "clip_score",
        "model": Model(id=str(folder)),
        "architecture": "tiny",
        "prefix": "A photo depicts ",
        "batch_size": 8,
    }
    return ClipScorer(ClipScore(**(values | changes)), "")


@functools.cache
def loaded(folder: Path) -> tuple[Any, Any, Any]:
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return model.eval(), transform, open_clip.get_tokenizer(f"local-dir:{folder}")


def reference(folder: Path, image: Image.Image, text: str) -> float:
    """open_clip's own words for it, one pair at a time."""
    model, transform, tokenizer = loaded(folder)
    tokens = tokenizer([text])
    with torch.no_grad():
        image_feature = model.encode_image(transform(image)[None])[0]
        text_feature = model.encode_text(tokens)[0]
    cosine = torch.nn.functional.cosine_similarity(image_feature, text_feature, dim=0)
    return max(float(cosine), 0.0)


def test_equals_open_clip_pair_by_pair(clip_folder: Path) -> None:
    found = scorer(clip_folder, weight=2.5)(IMAGES, CAPTIONS)
    expected = [2.5 * reference(clip_folder, i, "A photo depicts " + c) for i, c in zip(IMAGES, CAPTIONS, strict=True)]
    assert found.dtype == np.float64
    assert found == pytest.approx(expected, abs=BOUND)
    assert (found > 0.01).any()


def test_a_negative_cosine_counts_as_nothing(clip_folder: Path) -> None:
    images = [picture(number) for number in range(12)]
    texts = [f"caption {number}" for number in range(12)]
    found = scorer(clip_folder)(images, texts)
    cosines = [reference(clip_folder, i, "A photo depicts " + c) for i, c in zip(images, texts, strict=True)]
    assert found == pytest.approx(cosines, abs=BOUND)
    assert (found == 0).any()
    assert (found > 0.01).any()


def test_the_prefix_counts(clip_folder: Path) -> None:
    bare = scorer(clip_folder, prefix="")(IMAGES[:1], ["A photo depicts a red circle"])
    prefixed = scorer(clip_folder)(IMAGES[:1], ["a red circle"])
    assert bare[0] == prefixed[0]


def test_neighbours_and_places_do_not_change_a_bit(clip_folder: Path) -> None:
    images = [picture(number) for number in range(21)]
    texts = [f"caption {number // 2} {LONG[: 40 * number]}" for number in range(21)]
    score = scorer(clip_folder)
    together = score(images, texts)
    order = np.random.default_rng(0).permutation(21)
    shuffled = score([images[i] for i in order], [texts[i] for i in order])
    alone = [score([image], [text])[0] for image, text in zip(images, texts, strict=True)]
    assert together[order].tolist() == shuffled.tolist()
    assert together.tolist() == alone
    for size in (1, 32):
        other = scorer(clip_folder, batch_size=size)(images, texts)
        assert other == pytest.approx(together, abs=BOUND)


def test_what_are_no_pairs(clip_folder: Path) -> None:
    score = scorer(clip_folder)
    assert score([], []).shape == (0,)
    with pytest.raises(ValueError, match="2 images and 1 captions are no pairs"):
        score(IMAGES[:2], CAPTIONS[:1])


def test_transformers_layout_equals_transformers(transformers_clip_folder: Path) -> None:
    from transformers import CLIPModel

    scores = scorer(transformers_clip_folder, architecture="tiny-quick", prefix="")(IMAGES, CAPTIONS)
    model = CLIPModel.from_pretrained(transformers_clip_folder).eval()
    tokens = open_clip.get_tokenizer("ViT-B-32")(CAPTIONS)
    pixels = torch.stack([open_clip.image_transform(32, is_train=False, mean=MEAN, std=STD)(i) for i in IMAGES])
    with torch.no_grad():
        out = model(input_ids=tokens, pixel_values=pixels)
    cosines = (out.image_embeds * out.text_embeds).sum(dim=1)
    assert scores == pytest.approx(cosines.clamp(min=0).numpy(), abs=BOUND)
    assert (cosines > 0.1).all()


def test_the_papers_geometry_with_random_weights(tmp_path: Path) -> None:
    """ViT-B/32 as the paper's recipe names it, in the layout of its hub repository, at its full size."""
    [chosen] = [score for score in recipes.load("paper").scores if isinstance(score, ClipScore)]
    model = save_transformers_clip(open_clip.get_model_config(chosen.architecture), tmp_path)
    assert sum(parameter.numel() for parameter in model.parameters()) == 151_277_313
    score = ClipScorer(chosen.model_copy(update={"model": Model(id=str(tmp_path)), "batch_size": 1}), "")
    found = score([picture(0, 300, 200)], ["a dog on a bicycle"])
    tokens = open_clip.get_tokenizer("ViT-B-32")([chosen.prefix + "a dog on a bicycle"])
    pixels = open_clip.image_transform(224, is_train=False, mean=MEAN, std=STD)(picture(0, 300, 200))[None]
    with torch.no_grad():
        out = model(input_ids=tokens, pixel_values=pixels)
    cosine = float((out.image_embeds * out.text_embeds).sum())
    assert cosine > 0.01
    assert found == pytest.approx([cosine], abs=BOUND)


def test_the_miniature_layout(miniature_clip_folder: Path) -> None:
    images, texts = [picture(n, 64, 64) for n in range(3)], ["a red circle", LONG, "A large blue ring."]
    found = scorer(miniature_clip_folder, architecture="miniature", prefix="")(images, texts)
    expected = [reference(miniature_clip_folder, image, text) for image, text in zip(images, texts, strict=True)]
    assert found == pytest.approx(expected, abs=BOUND)


@pytest.mark.parametrize(("name", "key"), [(None, "clip_score"), ("clip-large", "clip_large")])
def test_errors_name_the_score_of_the_recipe(tmp_path: Path, name: str | None, key: str) -> None:
    with pytest.raises(RecipeError, match=rf"^scores\.{key}\.model"):
        scorer(tmp_path / "nothing", name=name)
