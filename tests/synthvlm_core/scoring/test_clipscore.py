"""CLIPScore against the straightforward formula, over both layouts of weights, long and hostile captions."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from synthvlm_core import recipe as recipes
from synthvlm_core.recipe import Model, RecipeError
from synthvlm_core.scoring import clip_model, clipscore
from synthvlm_core.scoring.clipscore import BOUND, ClipScorer

from .conftest import GEOMETRY, LONG, MEAN, STD, picture, section

CAPTIONS = ["a red circle", "a dog on a bicycle", "Café &amp; crème, 3 × 4", "", LONG]
IMAGES = [picture(0), picture(1, 64, 40), picture(2, 33, 90), picture(3, 32, 32), picture(4)]


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
    found = ClipScorer(section(clip_folder, weight=2.5), "").scores(IMAGES, CAPTIONS)
    expected = [2.5 * reference(clip_folder, i, "A photo depicts " + c) for i, c in zip(IMAGES, CAPTIONS, strict=True)]
    assert found.dtype == np.float64
    assert found == pytest.approx(expected, abs=BOUND)
    assert (found > 0.01).any()


def test_a_negative_cosine_counts_as_nothing(clip_folder: Path) -> None:
    images = [picture(number) for number in range(12)]
    texts = [f"caption {number}" for number in range(12)]
    found = ClipScorer(section(clip_folder), "").scores(images, texts)
    cosines = [reference(clip_folder, i, "A photo depicts " + c) for i, c in zip(images, texts, strict=True)]
    assert found == pytest.approx(cosines, abs=BOUND)
    assert (found == 0).any()
    assert (found > 0.01).any()


def test_the_prefix_counts(clip_folder: Path) -> None:
    bare = ClipScorer(section(clip_folder, prefix=""), "").scores(IMAGES[:1], ["A photo depicts a red circle"])
    prefixed = ClipScorer(section(clip_folder), "").scores(IMAGES[:1], ["a red circle"])
    assert bare[0] == prefixed[0]


def test_neighbours_and_places_do_not_change_a_bit(clip_folder: Path) -> None:
    images = [picture(number) for number in range(21)]
    texts = [f"caption {number // 2} {LONG[: 40 * number]}" for number in range(21)]
    scorer = ClipScorer(section(clip_folder), "")
    together = scorer.scores(images, texts)
    order = np.random.default_rng(0).permutation(21)
    shuffled = scorer.scores([images[i] for i in order], [texts[i] for i in order])
    alone = [scorer.scores([image], [text])[0] for image, text in zip(images, texts, strict=True)]
    assert together[order].tolist() == shuffled.tolist()
    assert together.tolist() == alone
    for size in (1, 32):
        other = ClipScorer(section(clip_folder, batch_size=size), "").scores(images, texts)
        assert other == pytest.approx(together, abs=BOUND)


def test_a_caption_of_120_words_keeps_its_end(clip_folder: Path) -> None:
    tokens = clip_model.load(section(clip_folder), "").tokens([LONG, "short"])
    end = 49407
    assert tokens.shape == (2, 77)
    assert tokens[0, -1] == end
    assert (tokens == end).sum(dim=1).tolist() == [1, 1]
    assert tokens.equal(open_clip.get_tokenizer("ViT-B-32")([LONG, "short"]))


class Careless:
    """A tokenizer that cuts off what is too long, the end token first."""

    class tokenizer:
        eos_token_id = 2

    def __call__(self, texts: list[str]) -> torch.Tensor:
        rows = [([1] + [3] * len(text.split()) + [2] + [0] * 8)[:8] for text in texts]
        return torch.tensor(rows)


def test_any_tokenizer_keeps_the_end() -> None:
    tokens = clip_model.tokens_of(Careless())(["one two", LONG])
    assert tokens.tolist() == [[1, 3, 3, 2, 0, 0, 0, 0], [1, 3, 3, 3, 3, 3, 3, 2]]


def test_a_tokenizer_without_an_end_is_refused() -> None:
    endless = Careless()
    endless.tokenizer.eos_token_id = 7
    with pytest.raises(RecipeError, match="end token"):
        clip_model.tokens_of(endless)
    endless.tokenizer.eos_token_id = 2


@pytest.mark.parametrize("spelling", ["<end_of_text>", "&lt;END_of_text&gt;"])
def test_a_spelt_out_end_token_ends_nothing(clip_folder: Path, spelling: str) -> None:
    tokens = clip_model.load(section(clip_folder), "").tokens([f"a dog {spelling} and a cat"])
    assert (tokens == 49407).sum() == 1
    assert tokens.equal(open_clip.get_tokenizer("ViT-B-32")(["a dog and a cat"]))


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP that is built and saved as the miniature one is, tokenizer and all."""
    from synthvlm_core.miniature.training import clip as training

    folder = tmp_path_factory.mktemp("miniature")
    torch.manual_seed(1)
    training.save(training.build_model(), training.build_tokenizer(scenes=20), folder)
    return folder


def test_the_miniature_layout(tokenizer_folder: Path) -> None:
    chosen = section(tokenizer_folder, architecture="miniature", prefix="")
    images, texts = [picture(n, 64, 64) for n in range(3)], ["a red circle", LONG, "A large blue ring."]
    found = ClipScorer(chosen, "").scores(images, texts)
    expected = [reference(tokenizer_folder, image, text) for image, text in zip(images, texts, strict=True)]
    assert found == pytest.approx(expected, abs=BOUND)
    tokens = clip_model.load(chosen, "").tokens([LONG, "a </s> b"])
    assert tokens[0, -1] == 2
    assert (tokens == 2).sum(dim=1).tolist() == [1, 1]


def clip_config(geometry: dict[str, Any]) -> Any:
    """Transformers' configuration of an open_clip geometry."""
    from transformers import CLIPConfig

    vision, text = geometry["vision_cfg"], geometry["text_cfg"]
    return CLIPConfig(
        projection_dim=geometry["embed_dim"],
        vision_config={
            "hidden_size": vision["width"],
            "intermediate_size": 4 * vision["width"],
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": vision["width"] // vision.get("head_width", 64),
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
        },
        text_config={
            "hidden_size": text["width"],
            "intermediate_size": 4 * text["width"],
            "num_hidden_layers": text["layers"],
            "num_attention_heads": text["heads"],
            "vocab_size": text["vocab_size"],
            "max_position_embeddings": text["context_length"],
            "bos_token_id": 49406,
            "eos_token_id": 49407,
        },
    )


def save_random_clip(geometry: dict[str, Any], folder: Path) -> Any:
    """A random CLIPModel of the geometry, written in transformers' layout."""
    from transformers import CLIPModel

    torch.manual_seed(2)
    model: Any = CLIPModel(clip_config(geometry))
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 and "logit" not in name:  # biases too: at zero a lost one would not show
            torch.nn.init.normal_(parameter, mean=float("norm" in name and "weight" in name), std=0.2)
    model.visual_projection.weight.data.neg_()  # of this seed: cosines above zero, so that scores are not all zero
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD}))
    return model.eval()


@pytest.fixture(scope="module")
def transformers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIPModel in transformers' layout, and its geometry under a name that open_clip knows."""
    folder = tmp_path_factory.mktemp("transformers")
    save_random_clip(GEOMETRY, folder)
    names = tmp_path_factory.mktemp("geometries")
    for name, quick in (("tiny-quick", True), ("tiny-exact", False)):
        (names / f"{name}.json").write_text(json.dumps({**GEOMETRY, "quick_gelu": quick}))
    open_clip.add_model_config(names)
    return folder


def test_transformers_layout_equals_transformers(transformers_folder: Path) -> None:
    from transformers import CLIPModel

    found = ClipScorer(section(transformers_folder, architecture="tiny-quick", prefix=""), "")
    scores = found.scores(IMAGES, CAPTIONS)
    model = CLIPModel.from_pretrained(transformers_folder).eval()
    tokens = open_clip.get_tokenizer("ViT-B-32")(CAPTIONS)
    pixels = torch.stack([open_clip.image_transform(32, is_train=False, mean=MEAN, std=STD)(i) for i in IMAGES])
    with torch.no_grad():
        out = model(input_ids=tokens, pixel_values=pixels)
    cosines = (out.image_embeds * out.text_embeds).sum(dim=1)
    assert scores == pytest.approx(cosines.clamp(min=0).numpy(), abs=BOUND)
    assert (cosines > 0.1).all()


def test_the_papers_geometry_with_random_weights(tmp_path: Path) -> None:
    """ViT-B/32 as the paper's recipe names it, in the layout of its hub repository, at its full size."""
    chosen = recipes.load("paper").scores.clip_score
    model = save_random_clip(open_clip.get_model_config(chosen.architecture), tmp_path)
    assert sum(parameter.numel() for parameter in model.parameters()) == 151_277_313
    found = ClipScorer(chosen.model_copy(update={"model": Model(id=str(tmp_path))}), "")
    scores = found.scores([picture(0, 300, 200)], ["a dog on a bicycle"])
    tokens = open_clip.get_tokenizer("ViT-B-32")([chosen.prefix + "a dog on a bicycle"])
    pixels = open_clip.image_transform(224, is_train=False, mean=MEAN, std=STD)(picture(0, 300, 200))[None]
    with torch.no_grad():
        out = model(input_ids=tokens, pixel_values=pixels)
    cosine = float((out.image_embeds * out.text_embeds).sum())
    assert scores == pytest.approx([max(cosine, 0.0)], abs=BOUND)


def test_a_geometry_of_the_other_gelu_is_refused(transformers_folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"tiny-exact does not have the quick_gelu"):
        ClipScorer(section(transformers_folder, architecture="tiny-exact"), "")


def test_a_geometry_of_another_shape_is_refused(transformers_folder: Path) -> None:
    with pytest.raises(RecipeError, match="do not fill ViT-B-32-quickgelu"):
        ClipScorer(section(transformers_folder, architecture="ViT-B-32-quickgelu"), "")


def test_an_unknown_geometry_is_refused(transformers_folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"scores.clip_score.architecture.*'no-such'"):
        ClipScorer(section(transformers_folder, architecture="no-such"), "")


def test_contradicting_geometries_are_refused(clip_folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"differ in embed_dim, quick_gelu, vision_cfg.image_size"):
        ClipScorer(section(clip_folder, architecture="ViT-B-32"), "")


def test_pickles_are_refused(tmp_path: Path, clip_folder: Path) -> None:
    config = (clip_folder / "open_clip_config.json").read_text()
    (tmp_path / "open_clip_config.json").write_text(config)
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(RecipeError, match="pickled weights only"):
        ClipScorer(section(tmp_path), "")
    # open_clip would prefer the pickle to this name
    (tmp_path / "model.safetensors").write_bytes((clip_folder / "open_clip_model.safetensors").read_bytes())
    with pytest.raises(RecipeError, match=r"no open_clip_model.safetensors"):
        ClipScorer(section(tmp_path), "")


def test_a_hub_id_needs_its_commit() -> None:
    with pytest.raises(RecipeError, match=r"scores.clip_score.model.revision is missing"):
        ClipScorer(section(Path("x"), model=Model(id="openai/clip-vit-base-patch32")), "")


@pytest.mark.parametrize(
    "changes",
    [{"prefix": ""}, {"weight": 2.5}, {"architecture": "other"}],
    ids=["prefix", "weight", "architecture"],
)
def test_the_definition_changes(clip_folder: Path, changes: dict[str, Any]) -> None:
    assert clipscore.definition(section(clip_folder), "") != clipscore.definition(section(clip_folder, **changes), "")


def test_the_definition_does_not_change(clip_folder: Path, tmp_path: Path) -> None:
    before = clipscore.definition(section(clip_folder), "")
    for path in clip_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert clipscore.definition(section(tmp_path, batch_size=3), "") == before
    path = tmp_path / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert clipscore.definition(section(tmp_path), "") != before
