"""Weights: from a recipe's `Model` to a loaded model, one way for every stage.

Belongs here: telling folders from hub ids, refusing what must not be loaded, the hash that identifies weights, the
choice of a device, loaders that several stages share. Does not belong here: what a stage does with a model.

A folder needs no network and is never looked up elsewhere. A hub id needs the commit it is pinned to. Only safetensors
are read, since unpickling a checkpoint runs code from it, and no code of a repository is run.
"""

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthvlm_core import hashing
from synthvlm_core.errors import RecipeError
from synthvlm_core.parts.locations import PACKAGE, locate
from synthvlm_core.parts.section import Model
from synthvlm_core.parts.section import Weights as Identify

PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
IDENTIFYING = frozenset({".safetensors", ".json", ".txt", ".model"})
"""Suffixes of weights, configurations and tokenizers. A model card may change without a new model."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CHUNK = 1 << 24


@dataclass(frozen=True)
class Weights:
    """Where weights are: a folder (`revision` None), or a hub id at a commit."""

    location: str
    revision: str | None
    variant: str | None
    dtype: str

    @property
    def local(self) -> bool:
        """Whether it is a folder."""
        return self.revision is None

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for `from_pretrained` of diffusers and of transformers' models."""
        import torch

        return {
            "dtype": getattr(torch, self.dtype),
            "use_safetensors": True,
            **({"variant": self.variant} if self.variant else {}),
            **self.file_arguments(),
        }

    def file_arguments(self) -> dict[str, Any]:
        """Keyword arguments for `from_pretrained` of tokenizers and processors, which hold no weights."""
        where: dict[str, Any] = {"local_files_only": True} if self.local else {"revision": self.revision}
        return {"trust_remote_code": False, **where}


def resolve(model: Model, folder: str, key: str = "model") -> Weights:
    """Find a model's weights without loading them.

    Args:
        folder: the recipe's folder, where relative paths start.
        key: the recipe's key of the model, for messages.

    Raises:
        RecipeError: if the folder is missing or holds no safetensors, or if a hub id has no pinned revision.
    """
    path = Path(locate(model.id, folder))
    if path.is_dir():
        _refuse_pickles(path, f"{key}.id")
        return Weights(str(path.resolve()), None, model.variant, model.dtype)
    if model.id.startswith(PACKAGE) or not _HUB_ID.fullmatch(model.id):
        raise RecipeError(f"{key}.id: no folder {path}, and {model.id!r} is no hub id like 'owner/name'")
    if model.revision is None or not _COMMIT.fullmatch(model.revision):
        given = "is missing" if model.revision is None else f"is {model.revision!r}, which can move"
        raise RecipeError(
            f"{key}.revision {given}: there is no folder {path}, so {model.id!r} is a hub id, and those are loaded "
            "from a pinned commit only. Give its 40 hex digits; "
            f"`git ls-remote https://huggingface.co/{model.id} HEAD` prints the newest"
        )
    return Weights(model.id, model.revision, model.variant, model.dtype)


def definition(model: Model, folder: str, key: str = "model") -> str:
    """Hash that identifies the weights: of a folder its files' content, of a hub id its commit; variant and dtype.

    A folder may move or be renamed; any change of a configuration, tokenizer or weight gives another hash.

    Raises:
        RecipeError: as `resolve`.
    """
    weights = resolve(model, folder, key)
    if not weights.local:
        return hashing.of_json(["hub", weights.location, weights.revision, weights.variant, weights.dtype])
    root = Path(weights.location)
    files = [
        [path.relative_to(root).as_posix(), _digest_of(path)]
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix in IDENTIFYING and not path.relative_to(root).as_posix().startswith(".")
    ]
    return hashing.of_json(["folder", files, weights.variant, weights.dtype])


def is_cached(weights: Weights) -> bool:
    """Whether a hub model was fetched to this machine before, as far as its first file shows."""
    from huggingface_hub import try_to_load_from_cache

    names = ("config.json", "model_index.json", "open_clip_config.json")
    return any(
        isinstance(try_to_load_from_cache(weights.location, name, revision=weights.revision), str) for name in names
    )


def identify(folder: str) -> Identify:
    """`definition` for models of a recipe in that folder, as `parts.section.named` takes it."""
    return lambda model, key: definition(model, folder, key)


def device() -> Any:
    """The device that models run on: the first CUDA accelerator, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def from_pretrained(cls: Any, model: Model, folder: str, key: str = "model", **options: Any) -> Any:
    """`cls.from_pretrained` of diffusers or transformers on a recipe's model: safetensors, pinned, no foreign code.

    Args:
        options: further keyword arguments of the class; they win over the recipe's, such as another `dtype`.

    Raises:
        RecipeError: as `resolve`.
    """
    weights = resolve(model, folder, key)
    return cls.from_pretrained(weights.location, **{**weights.arguments(), **options})


def causal_language_model(model: Model, folder: str, key: str = "model") -> tuple[Any, Any]:
    """A transformers causal language model, in evaluation mode on `device()`, and its tokenizer.

    Raises:
        RecipeError: as `resolve`.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    weights = resolve(model, folder, key)
    tokenizer = AutoTokenizer.from_pretrained(weights.location, **weights.file_arguments())
    loaded = AutoModelForCausalLM.from_pretrained(weights.location, **weights.arguments())
    return loaded.to(device()).eval(), tokenizer


@functools.cache
def shared_causal_language_model(model: Model, folder: str, threads: int) -> tuple[Any, Any]:
    """`causal_language_model`, loaded once per process: several rules may ask one."""
    import torch

    torch.set_num_threads(threads)
    return causal_language_model(model, folder)


def _refuse_pickles(root: Path, key: str) -> None:
    """Every folder of the tree that holds a pickled checkpoint must hold safetensors as well."""
    kinds: dict[Path, set[str]] = {}
    for path in root.rglob("*"):
        if path.suffix in PICKLED or path.suffix == ".safetensors":
            kinds.setdefault(path.parent, set()).add(path.suffix)
    for place in sorted(kinds):
        if ".safetensors" not in kinds[place]:
            found = ", ".join(sorted(kinds[place]))
            raise RecipeError(
                f"{key}: {place} holds pickled weights only ({found}). Loading them would run code from the file, so "
                "they are refused. Convert them where you trust them: load the model there and write it with "
                "`save_pretrained(..., safe_serialization=True)`, or take a revision that has safetensors"
            )
    if not kinds:
        raise RecipeError(f"{key}: {root} holds no weights: no .safetensors file in it or below it")


def _digest_of(path: Path) -> str:
    found = path.stat()
    return _file_digest(str(path), found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _file_digest(path: str, size: int, modified: int) -> str:
    """Digest of a file; size and time of change make a changed file another entry of the cache."""
    import hashlib

    hasher = hashlib.blake2b(digest_size=hashing.DIGEST_BYTES)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()
