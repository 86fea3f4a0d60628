"""Folders of weights that name other repositories: a hub that counts is really asked nothing.

A process of its own loads them, since the hub's address is read once, when its client is imported.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from model_hub import COMMIT, REPOSITORY, Hub, hub_of
from safetensors.torch import save_file

from synthvlm_core.errors import RecipeError
from synthvlm_core.models.closed import closed, named_elsewhere

pytestmark = pytest.mark.model

LOADING = """
import json, sys, urllib.request
from synthvlm_core.models import clip, vlm, weights
from synthvlm_core.parts.section import Model
from synthvlm_core.images.generators.diffusers import Pipeline
from synthvlm_core.recipe import loading
from synthvlm_core.stages import context

hub, folder, guarded, kinds = sys.argv[1:]
values = json.loads(loading.dumps(loading.load("miniature")))


def recipe(*path, to):
    found = json.loads(json.dumps(values))
    inner = found
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] |= {"id": to}
    return loading.loads(json.dumps(found))


def tower(place):
    made = recipe("training", "vision_tower", to=place)
    return vlm.build(made, made.training.variants[0], "crop")


def draw(place):
    made = recipe("generator", "model", to=place)
    return made.generator.load(context(made))


if guarded == "guarded":
    LOADERS = {
        "language": lambda place: weights.causal_language_model(Model(id=place), "/"),
        "clip": lambda place: clip.load(Model(id=place), "tiny", "/", "scores.clip_score"),
        "tower": tower,
        "checkpoint": vlm.load,
        "pipeline": draw,
    }
else:
    import open_clip
    from transformers import AutoModelForCausalLM, CLIPVisionModel

    LOADERS = {
        "language": AutoModelForCausalLM.from_pretrained,
        "clip": lambda place: open_clip.create_model(f"local-dir:{place}"),
        "tower": CLIPVisionModel.from_pretrained,
    }
told = {}
for name in kinds.split():
    urllib.request.urlopen(f"{hub}/phase/{name}").read()
    try:
        LOADERS[name.split("-")[0]](f"{folder}/{name}")
        told[name] = "loaded"
    except Exception as error:
        told[name] = f"{type(error).__name__}: {error}"
print(json.dumps(told))
"""


def load(hub: Hub, folder: Path, guarded: str, kinds: list[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """What came of every folder, and what the hub was asked for by each."""
    environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / f"cache-{guarded}"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOADING, hub.url, str(folder), guarded, " ".join(kinds)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    asked = {name: [path for path in paths if "agent-harnesses" not in path] for name, paths in hub.phases.items()}
    return json.loads(done.stdout.splitlines()[-1]), asked


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.is_file() else {}), **changes}))


@pytest.fixture
def hostile(tmp_path: Path, tiny_models: Path, clip_folder: Path) -> Path:
    """A folder of folders that each name another repository in another way; the part before the dash loads them."""
    folders: dict[str, Path] = {}

    def copied(name: str, of: Path) -> Path:
        folders[name] = Path(shutil.copytree(of, tmp_path / name))
        return folders[name]

    copied("language-honest", tiny_models / "language")
    edit(folders["language-honest"] / "config.json", _name_or_path="owner/elsewhere")
    for name, of in (("language-adapter", "language"), ("tower-adapter", "clip-vision")):
        adapter = {"peft_type": "LORA", "base_model_name_or_path": "owner/base"}
        edit(copied(name, tiny_models / of) / "adapter_config.json", **adapter)
    edit(copied("checkpoint-adapter", tiny_models / "language") / "adapter_config.json", **adapter)
    for name in ("language-adapter", "tower-adapter", "checkpoint-adapter"):
        (folders[name] / "config.json").unlink()
    edit(
        copied("language-code", tiny_models / "language") / "config.json",
        model_type="theirs",
        auto_map={name: f"owner/code--its.{name}" for name in ("AutoConfig", "AutoModelForCausalLM")},
    )
    edit(copied("language-kernel", tiny_models / "language") / "config.json", attn_implementation="owner/kernel")
    for name, tower, values in (
        ("clip-text", "text_cfg", {"hf_model_name": "owner/text"}),
        ("clip-vision", "vision_cfg", {"timm_model_name": "hf-hub:owner/vision"}),
    ):
        path = copied(name, clip_folder) / "open_clip_config.json"
        config = json.loads(path.read_text())
        config["model_cfg"][tower] |= values
        path.write_text(json.dumps(config))
    code = tmp_path / "pipeline-code"
    code.mkdir()
    edit(code / "model_index.json", _class_name=["owner/pipeline", "Theirs"], _diffusers_version="0.30.0")
    save_file({}, code / "none.safetensors")
    return tmp_path


def test_no_folder_reaches_out_whatever_it_names(hostile: Path) -> None:
    """Two processes that import all libraries: about half a minute."""
    with hub_of(hostile) as hub:
        told, asked = load(hub, hostile, "guarded", sorted(path.name for path in hostile.iterdir()))
        assert asked.pop("") == []
        assert asked == {name: [] for name in told}, "nothing was asked of the hub"
    assert told.pop("language-honest") == "loaded", "provenance that no loader follows is no reason to refuse"
    for name, message in told.items():
        assert message.startswith("RecipeError: "), message
        assert str(hostile / name) in message
    for name, key in (
        ("language-adapter", "adapter_config.json makes the folder an adapter"),
        ("tower-adapter", "training.vision_tower.id: "),
        ("language-code", "'owner/code--its.AutoModelForCausalLM' at auto_map.AutoModelForCausalLM"),
        ("language-kernel", "'owner/kernel' at attn_implementation"),
        ("clip-text", "'owner/text' at model_cfg.text_cfg.hf_model_name"),
        ("clip-vision", "'hf-hub:owner/vision' at model_cfg.vision_cfg.timm_model_name"),
    ):
        assert key in told[name]
    with hub_of(hostile) as hub:
        followed = ["language-adapter", "tower-adapter", "clip-text", "clip-vision"]
        _, asked = load(hub, hostile, "bare", followed)
        assert all(asked[name] for name in followed), "the libraries themselves do ask"


def test_what_no_list_knows_is_stopped_at_the_socket(tmp_path: Path) -> None:
    with hub_of(tmp_path) as hub:
        with (
            pytest.raises(RecipeError, match=r"scores\.clip\.model\.id: .* reached for 127\.0\.0\.1"),
            closed(tmp_path, "scores.clip.model.id"),
        ):
            urllib.request.urlopen(hub.url)
        with (
            pytest.raises(RecipeError, match="reached for"),
            closed(tmp_path, "model.id"),
            contextlib.suppress(OSError),  # a loader that goes on without what it did not get
        ):
            urllib.request.urlopen(hub.url)
        assert hub.current == []
        urllib.request.urlopen(f"{hub.url}/phase/after").read()
        assert "after" in hub.phases, "afterwards the network is open again"


def test_a_hubs_cache_is_no_way_out_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants, hf_hub_download

    cache = tmp_path / "models--owner--base"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(COMMIT)
    (cache / "snapshots" / COMMIT).mkdir(parents=True)
    (cache / "snapshots" / COMMIT / "config.json").write_text("{}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert hf_hub_download("owner/base", "config.json", local_files_only=True)
    with pytest.raises(RecipeError, match="does not load from its own files"), closed(tmp_path, "model.id"):
        hf_hub_download("owner/base", "config.json", local_files_only=True)
    assert str(tmp_path) == constants.HF_HUB_CACHE


def test_a_pinned_repository_is_fetched_at_its_commit_and_held_to_the_same(tiny_models: Path, tmp_path: Path) -> None:
    """A process of its own, ten seconds."""
    served = shutil.copytree(tiny_models / "language", tmp_path / "served")
    (served / "model.fp16.safetensors").write_bytes(b"another variant")
    (served / "consolidated.safetensors").write_bytes(b"another form")
    fetching = f"""
import json
from synthvlm_core.errors import RecipeError
from synthvlm_core.models import weights
from synthvlm_core.parts.section import Model
model, tokenizer = weights.causal_language_model(Model(id="{REPOSITORY}", revision="{COMMIT}"), "/")
try:
    weights.causal_language_model(Model(id="owner/none", revision="{COMMIT}"), "/", "judge.model")
except RecipeError as error:
    print(json.dumps([type(model).__name__, str(error)]))
"""
    with hub_of(served) as hub:
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        command = [sys.executable, "-c", fetching]
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
        name, error = json.loads(done.stdout.splitlines()[-1])
        assert name == "LlamaForCausalLM"
        assert error.startswith(f"judge.model.id: owner/none at {COMMIT} cannot be fetched")
        asked = [path for path in hub.current if "agent-harnesses" not in path]
        assert all(COMMIT in path for path in asked), "nothing is asked for by a name that can move"
        files = {path.rpartition("/")[2] for path in asked if "/resolve/" in path}
        assert "model.safetensors" in files
        assert not {"model.fp16.safetensors", "consolidated.safetensors"} & files


def test_configurations_that_cannot_be_read_name_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    (tmp_path / "tokenizer_config.json").write_bytes(b"\xff\xfe{")
    assert named_elsewhere(tmp_path) is None
