"""Checkpoints in the store: their names, writing them whole, getting them back.

    checkpoints/<variant>/<key>/    files of the checkpoint, then manifest.json

Belongs here: the key of a checkpoint, the manifest that completes it, local copies. Does not belong here: what the
files are (trainer.py, vlm.py).

A folder without a manifest is unfinished and nobody reads it. The manifest names every file with its SHA-256 as read
back from the store.
"""

import contextlib
import hashlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from synthvlm_core import hashing, models, tables
from synthvlm_core.recipe import Recipe, RecipeError, TrainingStage, Variant
from synthvlm_core.release import stage as release
from synthvlm_core.store import Store

log = logging.getLogger(__name__)

Stage = Literal["align", "finetune"]
STAGE_VERSION = 1

_SPEED = ("micro_batch", "gradient_checkpointing")
"""Settings of a stage that change memory and time, and results only as far as floating-point sums differ."""


def variant_of(recipe: Recipe, name: str) -> Variant:
    """The variant of that name. Raises RecipeError if there is none."""
    for variant in recipe.training.variants:
        if variant.name == name:
            return variant
    known = [variant.name for variant in recipe.training.variants]
    raise RecipeError(f"recipe {recipe.name!r} has no training variant {name!r}; it has {known}")


def code_version(recipe: Recipe, stage: Stage) -> str:
    """Hash of what a stage depends on apart from files: the recipe's words. Reads nothing."""
    training = recipe.training
    values: dict[str, Any] = {
        "stage": [stage, STAGE_VERSION],
        "seed": recipe.seed,
        "vision_tower": training.vision_tower.model_dump(mode="json"),
        "feature_layer": training.feature_layer,
        "projector": training.projector,
        "settings": _deciding(training.align if stage == "align" else training.finetune),
        "language_models": [[v.name, v.language_model.model_dump(mode="json")] for v in training.variants],
    }
    if stage == "finetune":
        values["instructions"] = training.instructions
    return hashing.of_json(values)


def key(recipe: Recipe, variant: str, release_content_hash: str, stage: Stage) -> str:
    """Names a checkpoint: the released content, the weights it starts from and the settings.

    Weights and the instruction mix count by content, so that a moved folder changes nothing; pictures of the mix do
    not. The thread count and what `_SPEED` names change rounding alone and are left out; the manifest has them.

    Raises:
        RecipeError: if weights or instructions are not there.
    """
    training = recipe.training
    chosen = variant_of(recipe, variant)
    parts: list[Any] = [
        STAGE_VERSION,
        recipe.seed,
        release_content_hash,
        models.definition(training.vision_tower, recipe.folder, "training.vision_tower"),
        models.definition(chosen.language_model, recipe.folder, f"training.variants.{variant}.language_model"),
        training.feature_layer,
        training.projector,
        _deciding(training.align),
    ]
    if stage == "finetune":
        parts += [_deciding(training.finetune), _file_digest(instructions_path(recipe))]
    return hashing.of_json([stage, parts])


def current_key(store: Store, recipe: Recipe, variant: str, stage: Stage) -> str:
    """The key of a variant's checkpoint for the latest release of its selection.

    Raises:
        NotMaterialized: if there is no such release.
        RecipeError: as `key`.
    """
    method = variant_of(recipe, variant).selection
    return key(recipe, variant, release.manifest(store, recipe, method)["content_hash"], stage)


def instructions_path(recipe: Recipe) -> Path:
    """The recipe's instruction mix."""
    return Path(recipe.folder, recipe.training.instructions).expanduser()


def path(store: Store, variant: str, checkpoint_key: str) -> str:
    """Path of a checkpoint's folder in the store."""
    return store.path("checkpoints", variant, checkpoint_key)


def manifest(store: Store, variant: str, checkpoint_key: str) -> dict[str, Any] | None:
    """The manifest of a complete checkpoint, else None."""
    found: dict[str, Any] | None = store.get_json(f"{path(store, variant, checkpoint_key)}/{tables.MANIFEST}")
    return found


def complete(store: Store, variant: str, checkpoint_key: str) -> dict[str, Any]:
    """The manifest of a complete checkpoint. Raises LookupError if there is none of that key."""
    found = manifest(store, variant, checkpoint_key)
    if found is None:
        place = store.fs.unstrip_protocol(path(store, variant, checkpoint_key))
        raise LookupError(f"no complete checkpoint in {place}: materialize it first")
    return found


def damage(store: Store, variant: str, checkpoint_key: str) -> list[str]:
    """What is wrong with the files of a complete checkpoint: missing, or other bytes than the manifest's.

    Raises:
        LookupError: if there is no complete checkpoint of that key.
    """
    place = path(store, variant, checkpoint_key)
    wrong = []
    for file in complete(store, variant, checkpoint_key)["files"]:
        try:
            found = hashlib.sha256(store.get(f"{place}/{file['name']}")).hexdigest()
        except FileNotFoundError:
            wrong.append(f"{file['name']} is missing")
        else:
            if found != file["sha256"]:
                wrong.append(f"{file['name']} has other bytes than the manifest says")
    return wrong


def sound(store: Store, variant: str, checkpoint_key: str) -> dict[str, Any] | None:
    """The manifest of a complete, undamaged checkpoint, else None: damage is named in the log."""
    found = manifest(store, variant, checkpoint_key)
    if found is not None and (wrong := damage(store, variant, checkpoint_key)):
        place = store.fs.unstrip_protocol(path(store, variant, checkpoint_key))
        log.warning("%s: %s; it will be trained again", place, "; ".join(wrong))
        return None
    return found


def existing(store: Store, recipe: Recipe, variant: str, release_content_hash: str, stage: Stage) -> dict[str, Any]:
    """The manifest of the checkpoint for the recipe and the released content as they are now.

    Raises:
        LookupError: with the remedy, if it is not in the store.
    """
    found = manifest(store, variant, key(recipe, variant, release_content_hash, stage))
    if found is None:
        asset = "projector_checkpoint" if stage == "align" else "vlm_checkpoint"
        raise LookupError(
            f"{asset} of variant {variant!r} is not in {store.url()} for this recipe and release: materialize it first"
        )
    return found


def put(store: Store, folder: Path, *, variant: str, checkpoint_key: str, values: dict[str, Any]) -> dict[str, Any]:
    """Store the files of a local folder as a checkpoint, and last the manifest: `values`, `files`, `content_hash`.

    A file left by an earlier, unfinished try is replaced unless it is the same.
    """
    place = path(store, variant, checkpoint_key)
    files = []
    for name in sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()):
        data = (folder / name).read_bytes()
        if not store.put(f"{place}/{name}", data) and store.get(f"{place}/{name}") != data:
            store.replace(f"{place}/{name}", data)
        stored = store.get(f"{place}/{name}")
        files.append({"name": name, "bytes": len(stored), "sha256": hashlib.sha256(stored).hexdigest()})
    content = hashing.of_json([[file["name"], file["sha256"]] for file in files])
    made = {**values, "variant": variant, "key": checkpoint_key, "files": files, "content_hash": content}
    store.put_json(f"{place}/{tables.MANIFEST}", made)
    return made


@contextlib.contextmanager
def local_folder(store: Store, variant: str, checkpoint_key: str) -> Iterator[Path]:
    """A local folder with the checkpoint's files: the store's own, or a download that is gone afterwards.

    Raises:
        LookupError: if there is no complete checkpoint of that key.
    """
    found = complete(store, variant, checkpoint_key)
    place = path(store, variant, checkpoint_key)
    if store.local:
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="synthvlm-checkpoint-") as folder:
        for file in found["files"]:
            target = Path(folder, file["name"])
            target.parent.mkdir(parents=True, exist_ok=True)
            store.fs.get_file(f"{place}/{file['name']}", str(target))
        yield Path(folder)


def _deciding(stage: TrainingStage) -> dict[str, Any]:
    return stage.model_dump(mode="json", exclude=set(_SPEED))


def _file_digest(file: Path) -> str:
    if not file.is_file():
        raise RecipeError(f"training.instructions: no file {file}; give LLaVA's instruction JSON")
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
