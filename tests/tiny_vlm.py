"""A VLM of a few thousand parameters, a released set of drawn scenes, a small instruction mix and a small benchmark.

For tests of models, training and evaluation: their conftest.py take these fixtures under the names they have here.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from synthvlm_core import hashing
from synthvlm_core.findings import Finding
from synthvlm_core.models.vlm import Vlm
from synthvlm_core.recipe import loading
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release import checks, verdict
from synthvlm_core.release.formats import huggingface
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.scoring.scored import score_columns
from synthvlm_core.store import records
from synthvlm_core.store.objects import Store
from synthvlm_core.store.products import Product
from synthvlm_miniature.making import benchmark, instructions
from synthvlm_miniature.world.captions import caption
from synthvlm_miniature.world.drawing import draw
from synthvlm_miniature.world.scenes import sample_scene

VARIANT = "synthvlm-mini"
PAIRS = 48


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `clip-vision` and `language` with random weights and the files that the shipped ones have."""
    import torch
    from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

    from synthvlm_miniature.training.language.tokenizer import build_tokenizer

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=32,
            patch_size=8,
        )
    ).save_pretrained(folder / "clip-vision")
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        folder / "clip-vision"
    )
    tokenizer = build_tokenizer(scenes=60)
    tokenizer.save_pretrained(folder / "language")
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=512,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    ).save_pretrained(folder / "language")
    return folder


@pytest.fixture(scope="session")
def mix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 rows of the miniature's instruction mix."""
    return instructions.write(tmp_path_factory.mktemp("mix"), n=48)[0]


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with 16 questions of the miniature's benchmark, their pictures, and 6 held-out captions."""
    folder = tmp_path_factory.mktemp("benchmark")
    benchmark.write(folder, {"test": 12, "held_out": 4}, captions=6)
    return folder


@pytest.fixture(scope="session")
def tiny_recipe(tiny_models: Path, mix: Path, asked: Path) -> Recipe:
    """The miniature recipe with tiny models, a set of `PAIRS` pairs, 6 steps of alignment, 6 of tuning and 16
    questions."""
    values = json.loads(loading.dumps(loading.load("miniature")))
    values["threads"] = 1
    values["selection"] |= {"size": PAIRS, "floor": {}, "source_thresholds": {}}
    training = values["training"]
    training["vision_tower"]["id"] = str(tiny_models / "clip-vision")
    training["instructions"] = str(mix)
    for variant in training["variants"]:
        variant["language_model"]["id"] = str(tiny_models / "language")
    for stage in ("align", "finetune"):
        rate = {"align": 1.0e-3, "finetune": 5.0e-4}[stage]
        training[stage] |= {
            "global_batch": 8,
            "micro_batch": 4,
            "epochs": 1.0,
            "max_length": 128,
            "learning_rate": rate,
        }
    values["evaluation"]["benchmarks"][0]["file"] = str(asked / "questions.jsonl")
    values["evaluation"]["texts"] = str(asked / "held_out_captions.txt")
    return loading.loads(json.dumps(values))


@pytest.fixture
def tiny_vlm(tiny_recipe: Recipe) -> Vlm:
    from synthvlm_core.models import vlm

    return vlm.build(tiny_recipe, tiny_recipe.variant(VARIANT), "crop")


def drawn_pairs(rows: int, size: int = 32) -> list[dict[str, Any]]:
    """`image_id`, `text` and `image` of drawn scenes."""
    found: list[dict[str, Any]] = []
    for number in range(rows):
        rng = np.random.default_rng([1, number])
        scene = sample_scene(rng)
        buffer = io.BytesIO()
        draw(scene, size).save(buffer, "PNG")
        image = {"bytes": buffer.getvalue(), "path": f"{number}.png"}
        found.append({"image_id": f"{number:032x}", "text": caption(scene, rng), "image": image})
    return found


def release(store: Store, recipe: Recipe, name: str, *, first: int = 0) -> None:
    """Put a released set of `PAIRS` drawn scenes, from the `first` on, into a store, as a selection would have."""
    table = records.synthvlm_100k(score_columns(recipe))
    drawn = drawn_pairs(first + PAIRS)[first:]
    rows = [
        {
            **pair,
            "rank": rank,
            "caption_id": f"{rank:032x}",
            "source": "laion",
            **{score.column: 1.0 for score in recipe.scores},
            "weighted_score": 1.5,
        }
        for rank, pair in enumerate(drawn, start=1)
    ]
    whole = pa.Table.from_pylist(rows, pa.schema([field.with_nullable(True) for field in table.schema]))
    whole = whole.cast(table.schema)
    stage = Synthvlm100k(store, recipe, name)
    content = hashing.content_hash([whole])
    path = store.path("releases", stage.release_name, content)
    product = Product(store, path)
    for number, at in enumerate((0, 30)):  # two files, so that a block of rows lies in more than one
        part = whole.slice(at, 30 if number == 0 else PAIRS - 30)
        product.put(f"data/train-{number:05d}-of-00002.parquet", huggingface.encode(part, table))
    product.seal(
        {
            "name": stage.release_name,
            "recipe": recipe.name,
            "set": name,
            "content_hash": content,
            "rows": PAIRS,
            "picture_bytes": sum(len(pair["image"]["bytes"]) for pair in drawn),
            "report": {"pairs": PAIRS, "threshold_score": 1.5, "means": {}, "sources": {}},
            "formats": {},
        }
    )
    pointer = {"content_hash": content, "recipe": recipe.name, "set": name}
    store.put_json(store.path("releases", stage.release_name, "candidate.json"), pointer)
    for holds in checks.PROPERTIES:  # nothing was selected or scored, so that no check could find out
        verdict.keep(Synthvlm100k(store, recipe, name), holds, Finding(True, "stated by a test"))


@pytest.fixture
def released(store: Store, tiny_recipe: Recipe) -> Store:
    """A store with the set of the first variant."""
    release(store, tiny_recipe, tiny_recipe.variant(VARIANT).selection)
    return store
