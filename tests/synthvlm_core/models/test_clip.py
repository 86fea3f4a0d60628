"""CLIP models: two layouts of weights, what is refused, and tokens that keep their end."""

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from tiny_clip import END, LONG

from synthvlm_core.errors import RecipeError
from synthvlm_core.models import clip
from synthvlm_core.models.clip import Clip
from synthvlm_core.parts.section import Model

pytestmark = pytest.mark.model

KEY = "scores.clip_score"


def load(folder: Path, architecture: str = "tiny", **model: Any) -> Clip:
    return clip.load(Model(**{"id": str(folder), **model}), architecture, "", KEY)


def test_a_model_reads_and_changes_nothing(clip_folder: Path) -> None:
    loaded = load(clip_folder)
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert next(load(clip_folder, dtype="bfloat16").model.parameters()).dtype == torch.bfloat16


def test_a_caption_of_120_words_keeps_its_end(clip_folder: Path) -> None:
    tokens = load(clip_folder).tokens([LONG, "short"])
    assert tokens.shape == (2, 77)
    assert tokens[0, -1] == END
    assert (tokens == END).sum(dim=1).tolist() == [1, 1]
    assert tokens.equal(open_clip.get_tokenizer("ViT-B-32")([LONG, "short"]))


class Careless:
    """A tokenizer that cuts off what is too long, the end token first."""

    def __init__(self, end: int | None = 2, separator: int | None = None) -> None:
        self.tokenizer = self
        self.eos_token_id, self.sep_token_id = end, separator

    def __call__(self, texts: list[str]) -> torch.Tensor:
        rows = [([1] + [3] * len(text.split()) + [2] + [0] * 8)[:8] for text in texts]
        return torch.tensor(rows)


@pytest.mark.parametrize("tokenizer", [Careless(), Careless(None, 2)], ids=["end", "separator"])
def test_any_tokenizer_keeps_the_end(tokenizer: Careless) -> None:
    tokens = clip.tokens_of(tokenizer, KEY)(["one two", LONG])
    assert tokens.tolist() == [[1, 3, 3, 2, 0, 0, 0, 0], [1, 3, 3, 3, 3, 3, 3, 2]]


@pytest.mark.parametrize("tokenizer", [Careless(7), Careless(None)], ids=["another", "none"])
def test_a_tokenizer_without_an_end_is_refused(tokenizer: Careless) -> None:
    with pytest.raises(RecipeError, match=r"scores\.clip_score\.model: .*end token"):
        clip.tokens_of(tokenizer, KEY)


def test_a_tokenizer_that_drops_tokens_by_chance_is_refused() -> None:
    random = open_clip.tokenizer.SimpleTokenizer(reduction_mask="random")
    with pytest.raises(RecipeError, match="drops tokens by chance"):
        clip.tokens_of(random, KEY)


@pytest.mark.parametrize("spelling", ["<end_of_text>", "&lt;END_of_text&gt;"])
def test_a_spelt_out_end_token_ends_nothing(clip_folder: Path, spelling: str) -> None:
    tokens = load(clip_folder).tokens([f"a dog {spelling} and a cat"])
    assert (tokens == END).sum() == 1
    assert tokens.equal(open_clip.get_tokenizer("ViT-B-32")(["a dog and a cat"]))


def test_the_miniature_layout_keeps_the_end(miniature_clip_folder: Path) -> None:
    tokens = load(miniature_clip_folder, "miniature").tokens([LONG, "a </s> b"])
    assert tokens[0, -1] == 2
    assert (tokens == 2).sum(dim=1).tolist() == [1, 1]


def test_a_geometry_of_the_other_gelu_is_refused(transformers_clip_folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"scores\.clip_score\.architecture: tiny-exact does not have the quick_gelu"):
        load(transformers_clip_folder, "tiny-exact")


def test_a_geometry_of_another_shape_is_refused(transformers_clip_folder: Path) -> None:
    with pytest.raises(RecipeError, match="do not fill ViT-B-32-quickgelu"):
        load(transformers_clip_folder, "ViT-B-32-quickgelu")


def test_an_unknown_geometry_is_refused(transformers_clip_folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"scores\.clip_score\.architecture.*'no-such'"):
        load(transformers_clip_folder, "no-such")


def test_contradicting_geometries_are_refused(clip_folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"differ in embed_dim, quick_gelu, vision_cfg.image_size"):
        load(clip_folder, "ViT-B-32")


def test_pickles_are_refused(tmp_path: Path, clip_folder: Path) -> None:
    config = (clip_folder / "open_clip_config.json").read_text()
    (tmp_path / "open_clip_config.json").write_text(config)
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(RecipeError, match="pickled weights only"):
        load(tmp_path)
    # open_clip would prefer the pickle to this name
    (tmp_path / "model.safetensors").write_bytes((clip_folder / "open_clip_model.safetensors").read_bytes())
    with pytest.raises(RecipeError, match=r"no open_clip_model.safetensors"):
        load(tmp_path)


def test_a_hub_id_needs_its_commit() -> None:
    with pytest.raises(RecipeError, match=r"scores\.clip_score\.model\.revision is missing"):
        load(Path("openai/clip-vit-base-patch32"))
