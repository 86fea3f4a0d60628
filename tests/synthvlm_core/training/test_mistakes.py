"""What a person may get wrong about models and data of training: told by the check of the recipe and, where somebody
starts all the same, before the first step, with key, file and remedy."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_vlm import VARIANT
from transformers import GPT2Config, GPT2LMHeadModel

from synthvlm_core import checking
from synthvlm_core.errors import Mendable, RecipeError
from synthvlm_core.machine import has
from synthvlm_core.models import vlm
from synthvlm_core.recipe import loading
from synthvlm_core.recipe.loading import Draft
from synthvlm_core.recipe.places import Document
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store
from synthvlm_core.training.aligned import ProjectorCheckpoint
from synthvlm_core.training.asking import ask
from synthvlm_core.training.data.rows import DataError
from synthvlm_core.training.tuned import VlmCheckpoint

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 17\n"
TOWER, LANGUAGE = "training.vision_tower", f"training.variants.{VARIANT}.language_model"
Edit = Callable[..., Recipe]
Damage = Callable[[Path], object]


def set_in(name: str, **values: object) -> Damage:
    """Change values of a JSON file."""

    def change(folder: Path) -> None:
        (folder / name).write_text(json.dumps({**json.loads((folder / name).read_text()), **values}))

    return change


def pointer(name: str) -> Damage:
    return lambda folder: (folder / name).write_text(POINTER)


def without(*patterns: str) -> Damage:
    return lambda folder: [path.unlink() for pattern in patterns for path in folder.glob(pattern)]


def cut(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])


def no_end_token(folder: Path) -> None:
    without("special_tokens_map.json")(folder)
    set_in("tokenizer_config.json", eos_token=None)(folder)


def another_architecture(folder: Path) -> None:
    without("model.safetensors")(folder)
    GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=32, n_layer=1, n_head=2, n_positions=512)).save_pretrained(folder)


KNOWN_BEFORE: dict[str, tuple[str, Damage, str, str]] = {
    "pointer as weights": (
        TOWER,
        pointer("model.safetensors"),
        "id",
        "{m}/model.safetensors is a pointer of Git LFS, not the file itself; fetch it: git lfs pull",
    ),
    "pointer as tokenizer": (
        LANGUAGE,
        pointer("tokenizer.json"),
        "id",
        "{m}/tokenizer.json is a pointer of Git LFS, not the file itself; fetch it: git lfs pull",
    ),
    "cut short": (TOWER, cut, "id", "{m}/model.safetensors: cut short, or no safetensors; get it anew"),
    "no preprocessor": (
        TOWER,
        without("preprocessor_config.json"),
        "id",
        "{m} has no preprocessor_config.json; copy it there from where the model was published",
    ),
    "no config": (TOWER, without("config.json"), "id", "{m} has no config.json; copy it there from where"),
    "another kind": (
        TOWER,
        set_in("config.json", model_type="siglip_vision_model"),
        "id",
        "{m}/config.json is of a 'siglip_vision_model'; name a CLIP, or the vision part of one",
    ),
    "patches that do not fit": (
        TOWER,
        set_in("config.json", patch_size=7),
        "",
        "takes pictures of 32 pixels in patches "
        "of 7, and its image processor makes (32, 32); give a folder whose preprocessor_config.json fits",
    ),
    "no tokenizer": (LANGUAGE, without("token*", "special*"), "id", "{m} holds no tokenizer (tokenizer.json, "),
    "byte order mark": (
        LANGUAGE,
        lambda m: (m / "config.json").write_bytes(b"\xef\xbb\xbf" + (m / "config.json").read_bytes()),
        "id",
        "{m}/config.json cannot be read as JSON (Unexpected UTF-8 BOM",
    ),
}
"""Model, damage, key below it, what is told."""
KNOWN_WHEN_LOADED: dict[str, tuple[str, Damage, str]] = {
    "fewer weights than layers": (
        TOWER,
        set_in("config.json", num_hidden_layers=4),
        "the weights in {m} are not those of its config.json (encoder.layers.2.layer_norm1.bias is missing; ",
    ),
    "weights of other shapes": (
        TOWER,
        set_in("config.json", hidden_size=16),
        "the weights in {m} are not those of its config.json (embeddings.class_embedding is (32,) and must be (16,); ",
    ),
    "another vocabulary": (
        LANGUAGE,
        set_in("config.json", vocab_size=7),
        "lm_head.weight is (1024, 32) and must be (7, ",
    ),
    "no end token": (LANGUAGE, no_end_token, "the tokenizer of {m} has no end token; take another model"),
    "another architecture": (
        LANGUAGE,
        another_architecture,
        "{m} is a GPT2LMHeadModel, which has no `model` and "
        "`lm_head` to put a projector before; take one built like Llama",
    ),
}
"""Model, damage, what is told; the key is its `id`."""


@pytest.fixture
def damaged(tiny_recipe: Recipe, tiny_models: Path, edited: Edit, tmp_path: Path) -> Callable[[str, Damage], Recipe]:
    """The tiny recipe with a damaged copy of one of its models in the folder `m`."""

    def recipe(key: str, damage: Damage) -> Recipe:
        shutil.copytree(tiny_models / {TOWER: "clip-vision", LANGUAGE: "language"}[key], tmp_path / "m")
        damage(tmp_path / "m")
        return edited(tiny_recipe, {f"{key}.id": str(tmp_path / "m")})

    return recipe


def checked(recipe: Recipe) -> list[tuple[str, str]]:
    """Keys and messages of what the check of a recipe finds wrong."""
    values = json.loads(loading.dumps(recipe))
    folder = values.pop("folder")
    draft = Draft((Document(Path("mine.yaml"), None, values),), values, folder)
    return [(found.key, found.message) for found in checking.problems(draft) if found.level == "wrong"]


@pytest.mark.parametrize("name", KNOWN_BEFORE)
def test_a_model_that_does_not_fit_is_told_by_the_check_and_before_training(
    damaged: Callable[[str, Damage], Recipe], tmp_path: Path, name: str
) -> None:
    key, damage, below, said = KNOWN_BEFORE[name]
    recipe, words = damaged(key, damage), said.replace("{m}", str(tmp_path / "m"))
    numbered = key.replace(VARIANT, "0")
    [(at, message)] = checked(recipe)
    assert at == ".".join(filter(None, [numbered, below]))
    assert message.startswith(words)
    with pytest.raises(RecipeError) as caught:
        vlm.build(recipe, recipe.variant(VARIANT), "crop")
    assert str(caught.value).startswith(f"{'.'.join(filter(None, [key, below]))}: {words}")


@pytest.mark.parametrize("name", KNOWN_WHEN_LOADED)
def test_a_model_that_would_be_filled_up_by_chance_or_crash_is_refused(
    damaged: Callable[[str, Damage], Recipe], tmp_path: Path, name: str
) -> None:
    key, damage, said = KNOWN_WHEN_LOADED[name]
    recipe = damaged(key, damage)
    with pytest.raises(RecipeError) as caught:
        vlm.build(recipe, recipe.variant(VARIANT), "crop")
    assert str(caught.value).startswith(f"{key}.id: ")
    assert said.replace("{m}", str(tmp_path / "m")) in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("training.feature_layer", -9, "-9 is no hidden state of a vision tower with 2 layers; give -3 to 2"),
        ("training.align.max_length", 10, "10, and a picture takes 16 tokens: give at least 32"),
        ("training.finetune.max_length", 10, "10, and a picture takes 16 tokens: give at least 32"),
        ("training.finetune.max_length", 1000, "1000, and {language} takes 512 tokens: give at most 512"),
    ],
)
def test_numbers_that_the_models_do_not_take_are_told_by_the_check_and_before_training(
    tiny_recipe: Recipe, tiny_models: Path, edited: Edit, key: str, value: int, said: str
) -> None:
    recipe, words = edited(tiny_recipe, {key: value}), said.replace("{language}", str(tiny_models / "language"))
    assert checked(recipe) == [(key, words)]
    with pytest.raises(RecipeError) as caught:
        vlm.build(recipe, recipe.variant(VARIANT), "crop")
    assert str(caught.value) == f"{key}: {words}"


def test_answers_and_texts_are_told_by_the_check(tiny_recipe: Recipe, edited: Edit, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("only one\n")
    recipe = edited(tiny_recipe, {"evaluation.max_new_tokens": 512, "evaluation.texts": str(tmp_path / "texts.txt")})
    (first, words), (second, others) = checked(recipe)
    assert first == "evaluation.max_new_tokens"
    assert words.startswith("512 leave no room for a question in the 512 tokens of ")
    assert (second, others) == (
        "evaluation.texts",
        f"{tmp_path}/texts.txt: 1 texts; an interval needs at least two, one a line",
    )


def sentencepiece_alone(folder: Path) -> None:
    """A tokenizer as Vicuna's: a sentencepiece model and nothing beside it."""
    import sentencepiece

    without("token*", "special*")(folder)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a large red circle beside two small blue squares", "what shape is this?"] * 20),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=400,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        bos_id=1,
        eos_id=2,
        minloglevel=2,
    )
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
    )


def test_a_tokenizer_of_sentencepiece_alone_needs_an_extra(
    damaged: Callable[[str, Damage], Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damage(folder: Path) -> None:
        without("tokenizer.json")(folder)
        (folder / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>")

    recipe = damaged(LANGUAGE, damage)
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    words = (
        f"{tmp_path}/m/tokenizer.model is a tokenizer of sentencepiece without a tokenizer.json beside it, and what "
    )
    words += "reads it is not installed (sentencepiece and google.protobuf, of versions that fit each other); "
    words += "pip install 'synthvlm[sentencepiece]'"
    assert checked(recipe) == [("training.variants.0.language_model.id", words)]
    with pytest.raises(RecipeError) as caught:
        vlm.build(recipe, recipe.variant(VARIANT), "crop")
    assert str(caught.value) == f"{LANGUAGE}.id: {words}"


@pytest.mark.skipif(not has("sentencepiece"), reason="the extra sentencepiece is not installed")
def test_a_tokenizer_of_sentencepiece_alone_says_what_sentencepiece_says(
    damaged: Callable[[str, Damage], Recipe], tmp_path: Path
) -> None:
    import sentencepiece

    recipe = damaged(LANGUAGE, sentencepiece_alone)
    assert checked(recipe) == []
    made = vlm.build(recipe, recipe.variant(VARIANT), "crop")
    own = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "m" / "tokenizer.model"))
    for text in ("a large red circle", "two  blanks, Été, 𝄞", "<s> is no token here"):
        ids = made.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        assert ids == own.encode(text)
    assert ask(made, [None], ["what?"], batch_size=1, max_new_tokens=2)


def test_the_mix_is_looked_at_whole_before_anything_is_aligned(
    released: Store, tiny_recipe: Recipe, edited: Edit, tmp_path: Path
) -> None:
    """A bad row was once met after the alignment."""
    rows = json.loads(Path(tiny_recipe.training.instructions).read_text())
    shutil.copy(Path(tiny_recipe.training.instructions).with_suffix(".zip"), tmp_path / "mix.zip")
    (tmp_path / "mix.json").write_text(json.dumps([*rows, {"id": 1}, {**rows[0], "image": "gone.png"}]))
    recipe = edited(tiny_recipe, {"training.instructions": str(tmp_path / "mix.json")})
    told = f"{tmp_path}/mix.json: 2 rows cannot be used:\n  row 48: not an object with a list 'conversations'; see "
    told += f"LLaVA's instruction JSON\n  row 49: no picture 'gone.png' in {tmp_path}/mix.zip; add it or remove the row"
    assert checked(recipe) == [("training.instructions", told)]
    steps: list[str] = []
    with pytest.raises(DataError) as caught:
        ProjectorCheckpoint(released, recipe, VARIANT).make(lambda what, done, total: steps.append(what))
    assert str(caught.value) == told
    assert set(steps) == {"instructions: 0 rows read"}, "no step was trained"


def test_a_full_disk_of_work_is_told(
    released: Store, tiny_recipe: Recipe, tmp_path: Path, mounted: Callable[[Path, str], Path]
) -> None:
    work = mounted(tmp_path / "disk", "size=300k")
    stage = VlmCheckpoint(released, tiny_recipe, VARIANT, work=work, save_steps=1)
    stage.aligned.make()
    with pytest.raises(Mendable, match=rf"^{work}/[0-9a-f]+: no space is left there; make room or name another place"):
        stage.make()
