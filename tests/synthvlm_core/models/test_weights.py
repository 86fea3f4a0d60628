import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from synthvlm_core.errors import RecipeError
from synthvlm_core.models import weights
from synthvlm_core.parts.section import Model

COMMIT = "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recipe's folder with one model in it: parts/model."""
    model = tmp_path / "parts" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps({"width": 4}))
    save_file({"weight": torch.zeros(2, 2)}, model / "model.safetensors")
    return tmp_path


def test_a_folder_is_found_beside_the_recipe_and_stays_offline(folder: Path) -> None:
    found = weights.resolve(Model(id="parts/model", dtype="float16"), str(folder))
    assert found.local
    assert found.location == str(folder / "parts" / "model")
    arguments = found.arguments()
    assert arguments == {
        "dtype": torch.float16,
        "use_safetensors": True,
        "trust_remote_code": False,
        "local_files_only": True,
    }
    assert weights.resolve(Model(id=found.location), "elsewhere").location == found.location


def test_a_hub_id_names_its_pinned_commit(folder: Path) -> None:
    found = weights.resolve(Model(id="openai/clip", revision=COMMIT, variant="fp16"), str(folder))
    assert not found.local
    assert (found.location, found.revision) == ("openai/clip", COMMIT)
    assert found.arguments()["variant"] == "fp16"


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT[:12]])
def test_a_hub_id_without_a_commit_is_refused(folder: Path, revision: str | None) -> None:
    with pytest.raises(RecipeError, match=r"captions\.judge\.model\.revision .*40 hex digits"):
        weights.resolve(Model(id="openai/clip", revision=revision), str(folder), "captions.judge.model")


@pytest.mark.parametrize("name", ["../missing/model", "./model", "/nowhere/model", "a/b/c"])
def test_a_missing_folder_is_no_hub_id(folder: Path, name: str) -> None:
    with pytest.raises(RecipeError, match=r"model\.id: no folder"):
        weights.resolve(Model(id=name, revision=COMMIT), str(folder))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt", "x.pth", "x.pkl"])
def test_pickled_weights_alone_are_refused(folder: Path, name: str) -> None:
    model = folder / "parts" / "model"
    (model / "model.safetensors").unlink()
    (model / name).write_bytes(b"\x80\x04.")
    with pytest.raises(RecipeError, match=r"pickled weights only .*safe_serialization=True"):
        weights.resolve(Model(id="parts/model"), str(folder))


def test_a_pickled_part_of_a_pipeline_is_refused(folder: Path) -> None:
    part = folder / "parts" / "model" / "unet"
    part.mkdir()
    (part / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(RecipeError, match="unet holds pickled weights only"):
        weights.resolve(Model(id="parts/model"), str(folder))
    save_file({"weight": torch.zeros(1)}, part / "diffusion_pytorch_model.safetensors")
    assert weights.resolve(Model(id="parts/model"), str(folder)).local


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "parts" / "model" / "model.safetensors").unlink()
    with pytest.raises(RecipeError, match="holds no weights"):
        weights.resolve(Model(id="parts/model"), str(folder))


def test_the_definition_follows_the_files_and_nothing_else(folder: Path) -> None:
    model = Model(id="parts/model")
    first = weights.definition(model, str(folder))
    (folder / "parts" / "model" / "README.md").write_text("a better card")
    assert weights.definition(model, str(folder)) == first
    (folder / "parts").rename(folder / "moved")
    moved = Model(id="moved/model")
    assert weights.definition(moved, str(folder)) == first
    assert weights.definition(moved.model_copy(update={"dtype": "float16"}), str(folder)) != first
    save_file({"weight": torch.ones(2, 2)}, folder / "moved" / "model" / "model.safetensors")
    second = weights.definition(moved, str(folder))
    assert second != first
    (folder / "moved" / "model" / "config.json").write_text(json.dumps({"width": 5}))
    assert weights.definition(moved, str(folder)) not in (first, second)


def test_the_definition_of_a_hub_id_is_its_commit() -> None:
    model = Model(id="openai/clip", revision=COMMIT)
    assert weights.definition(model, "") == weights.definition(model, "elsewhere")
    assert weights.definition(model, "") != weights.definition(model.model_copy(update={"revision": "0" * 40}), "")
    with pytest.raises(RecipeError, match="revision is missing"):
        weights.definition(Model(id="openai/clip"), "")


def test_a_packaged_model_is_a_folder_and_no_hub_id() -> None:
    name = "package:synthvlm_miniature/models/language"
    found = weights.resolve(Model(id=name), "anywhere")
    assert found.local
    assert weights.definition(Model(id=name), "a") == weights.definition(Model(id=found.location), "b")
    for missing in ("package:synthvlm_miniature/models/none", "package:none/x"):
        with pytest.raises(RecipeError, match=r"no folder|no installed package"):
            weights.resolve(Model(id=missing, revision=COMMIT), "")


def test_identify_names_the_models_of_a_section(folder: Path) -> None:
    identify = weights.identify(str(folder))
    assert identify(Model(id="parts/model"), "here") == weights.definition(Model(id="parts/model"), str(folder))
    with pytest.raises(RecipeError, match=r"captions\.rules\.3\.model\.id: no folder"):
        identify(Model(id="./none"), "captions.rules.3.model")


def test_a_hub_model_that_was_never_fetched_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    found = weights.resolve(Model(id="openai/clip", revision=COMMIT), "")
    assert not weights.is_cached(found)
    snapshot = tmp_path / "models--openai--clip" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert weights.is_cached(found)


def test_no_code_is_run_while_loading(folder: Path) -> None:
    """A folder that asks for its own code is refused by the loader instead of asked about."""
    model = folder / "parts" / "model"
    (model / "config.json").write_text(
        json.dumps({"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}})
    )
    (model / "evil.py").write_text("raise SystemExit('code was run')")
    with pytest.raises(RecipeError, match=r"trust_remote_code|tokenizer"):
        weights.causal_language_model(Model(id="parts/model"), str(folder))


def test_float32_is_not_rounded_to_tf32_on_a_gpu() -> None:
    torch.backends.cudnn.allow_tf32 = True
    weights.device()
    assert not torch.backends.cudnn.allow_tf32
