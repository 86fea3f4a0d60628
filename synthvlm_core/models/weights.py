"""Weights: from a recipe's `Model` to a loaded model, one way for every stage.

Belongs here: telling folders from hub ids, refusing what must not be loaded, the hash that identifies weights, the
choice of a device, loaders that several stages share. Does not belong here: what a stage does with a model.

A folder needs no network and is never looked up elsewhere. A hub id needs the commit it is pinned to; its files are
fetched at that commit, and it is a folder from then on. What a folder's files name beyond it is not followed
(closed.py). Only safetensors are read, since unpickling a checkpoint runs code from it, and no code of a repository is
run.
"""

import contextlib
import functools
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synthvlm_core import hashing, lfs, machine
from synthvlm_core.errors import RecipeError
from synthvlm_core.models.closed import closed, named_elsewhere
from synthvlm_core.parts.locations import PACKAGE, locate
from synthvlm_core.parts.section import Model
from synthvlm_core.parts.section import Weights as Identify

PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
IDENTIFYING = frozenset({".safetensors", ".json", ".txt", ".model"})
"""Suffixes of weights, configurations and tokenizers. A model card may change without a new model."""

MAX_HEAD_BYTES = 100_000_000
"""Of a safetensors file, as its library bounds it."""
SENTENCEPIECE = ("sentencepiece", "google.protobuf")
"""What reads a tokenizer.model that has no tokenizer.json beside it."""

_SMALL = ("*.json", "*.txt", "*.model", "*.jinja")
"""What is fetched of any hub repository: configurations and tokenizers."""
_MODELS = ("model", "open_clip_model", "open_clip_pytorch_model")
"""Names of a repository's own weights, without suffix and shard; further copies in other forms are not fetched."""
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
        """Keyword arguments for `from_pretrained` of diffusers and of transformers' models, from a folder."""
        import torch

        return {
            "dtype": getattr(torch, self.dtype),
            "use_safetensors": True,
            **({"variant": self.variant} if self.variant else {}),
            **self.file_arguments(),
        }

    def file_arguments(self) -> dict[str, Any]:
        """Keyword arguments for `from_pretrained` of tokenizers and processors, which hold no weights."""
        return {"trust_remote_code": False, "local_files_only": True}


def resolve(model: Model, folder: str, key: str = "model") -> Weights:
    """Find a model's weights without loading them.

    Args:
        folder: the recipe's folder, where relative paths start.
        key: the recipe's key of the model, for messages.

    Raises:
        RecipeError: if the folder is missing, holds no safetensors or names another model that its loader would
            follow, or if a hub id has no pinned revision.
    """
    path = Path(locate(model.id, folder))
    if path.is_dir():
        refuse_strange(path, f"{key}.id")
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
        [path.relative_to(root).as_posix(), file_digest(path)]
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
    """The device that models run on: the first CUDA accelerator, else the CPU.

    float32 there means float32: PyTorch lets convolutions round their inputs to TF32's 10 bits, which moves pictures
    and scores by more than another processor does.
    """
    import torch

    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def refuse_strange(root: Path, key: str) -> None:
    """Refuse a folder whose files would run code or lead to another model.

    Raises:
        RecipeError: if a folder of the tree holds pickled checkpoints and no safetensors, if there are no weights at
            all, if files are pointers of Git LFS or a tokenizer needs what is not installed, or if a configuration
            names another model that its loader would follow.
    """
    if (pointers := lfs.told(path for path in sorted(root.rglob("*")) if path.suffix in IDENTIFYING)) is not None:
        raise RecipeError(f"{key}: {pointers}")
    if (elsewhere := named_elsewhere(root)) is not None:
        raise RecipeError(f"{key}: {elsewhere}")
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
    if (sentences := _sentencepiece(root)) is not None and not all(map(machine.has, SENTENCEPIECE)):
        raise RecipeError(f"{key}: {sentences}")


def refuse_cut(root: Path, key: str) -> None:
    """Refuse a folder whose weights are not whole, as far as their heads tell.

    Raises:
        RecipeError: naming all files that are cut short.
    """
    if cut := [str(path) for path in sorted(root.rglob("*.safetensors")) if not _is_whole(path)]:
        raise RecipeError(f"{key}: {', '.join(cut)}: cut short, or no safetensors; get it anew")


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file has the size that its head says, which is all that is read."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if length > min(size, MAX_HEAD_BYTES):
            return False
        try:
            head = json.loads(file.read(length))
            ends = [value["data_offsets"][1] for name, value in head.items() if name != "__metadata__"]
        except (ValueError, AttributeError, LookupError, TypeError, RecursionError):
            return False
    return size == 8 + length + max(ends, default=0)


def _sentencepiece(root: Path) -> str | None:
    """What it takes to read a tokenizer that is a sentencepiece model alone, as Vicuna's; None where there is none."""
    for path in sorted(root.rglob("*.model")):
        if not (path.parent / "tokenizer.json").is_file():
            return (
                f"{path} is a tokenizer of sentencepiece without a tokenizer.json beside it, and what reads it is not "
                f"installed ({' and '.join(SENTENCEPIECE)}, of versions that fit each other); "
                "pip install 'synthvlm[sentencepiece]'"
            )
    return None


@contextlib.contextmanager
def opened(model: Model, folder: str, key: str = "model") -> Iterator[Weights]:
    """A model's folder to load from, a hub id's fetched before; until the end nothing comes from anywhere else.

    Raises:
        RecipeError: as `resolve`; if a hub's files cannot be had or weights are cut short; if the folder reaches out or
            does not load.
    """
    found = fetched(resolve(model, folder, key), key)
    refuse_cut(Path(found.location), f"{key}.id")
    with closed(Path(found.location), f"{key}.id"):
        yield found


def fetched(weights: Weights, key: str = "model") -> Weights:
    """Weights as a folder: a hub id's files of its commit, fetched where they are not on this machine yet.

    Raises:
        RecipeError: if they cannot be fetched, hold no safetensors, or name another model.
    """
    if weights.local:
        return weights
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    where = f"{weights.location} at {weights.revision}"

    def fetch(wanted: list[str], unwanted: list[str] | None = None) -> Path:
        try:
            return Path(
                snapshot_download(
                    weights.location, revision=weights.revision, allow_patterns=wanted, ignore_patterns=unwanted
                )
            )
        except (HfHubHTTPError, OSError) as error:
            raise RecipeError(f"{key}.id: {where} cannot be fetched: {error}") from error

    root = fetch(list(_SMALL))
    for names in _names_of_weights(root):
        of_variant = [f"{name}.{weights.variant}{end}" for name in names for end in (".safetensors", "-*.safetensors")]
        if weights.variant is not None:
            fetch(of_variant)
        if not any(path for pattern in of_variant for path in root.glob(pattern)):
            # a part without the variant has plain weights; a further dot before the suffix is another variant's
            fetch([f"{name}{end}" for name in names for end in (".safetensors", "-*.safetensors")], ["*.*.safetensors"])
    if not any(root.rglob("*.safetensors")):
        raise RecipeError(
            f"{key}: {where} has no .safetensors file, and pickles are refused. "
            "Pin a commit that has one; a conversion by the hub stands under refs/pr of the repository"
        )
    refuse_strange(root, f"{key}.id")
    return replace(weights, location=str(root), revision=None)


def _names_of_weights(root: Path) -> list[list[str]]:
    """For each part of a repository the names that its weights may have, as patterns without suffix and shard."""
    index = root / "model_index.json"
    if not index.is_file():
        return [list(_MODELS)]
    try:
        parts = json.loads(index.read_bytes())
    except ValueError:  # told where it is loaded
        return []
    return [[f"{part}/*"] for part, value in parts.items() if isinstance(value, list) and "/" not in part]


def causal_language_model(model: Model, folder: str, key: str = "model") -> tuple[Any, Any]:
    """A transformers causal language model, in evaluation mode on `device()`, and its tokenizer.

    Raises:
        RecipeError: as `opened`.
    """
    from transformers import AutoModelForCausalLM

    with opened(model, folder, key) as found:
        words = tokenizer(found, key)
        loaded = whole(AutoModelForCausalLM, found, key)
    return loaded.to(device()).eval(), words


def tokenizer(weights: Weights, key: str = "model") -> Any:
    """A folder's tokenizer, of the kind that tells where in a text its tokens stand. To be called within `opened`.

    Raises:
        RecipeError: if there is none such, or what reads it is not installed.
    """
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(weights.location, **weights.file_arguments())
    except (ValueError, ImportError) as error:
        if (sentences := _sentencepiece(Path(weights.location))) is not None:
            raise RecipeError(f"{key}.id: {sentences}") from error
        raise
    if not found.is_fast:
        raise RecipeError(
            f"{key}.id: the {type(found).__name__} of {weights.location} does not tell where tokens stand in a text; "
            "take a model whose folder has a tokenizer.json"
        )
    return found


def whole(cls: Any, weights: Weights, key: str = "model") -> Any:
    """A folder's model of transformers, every weight from its files. To be called within `opened`.

    Raises:
        RecipeError: if weights are missing or of other shapes: the loader would fill in random ones.
    """
    found, told = cls.from_pretrained(
        weights.location, **weights.arguments(), output_loading_info=True, ignore_mismatched_sizes=True
    )
    wrong = [
        f"{name} is {tuple(here)} and must be {tuple(wanted)}" for name, here, wanted in sorted(told["mismatched_keys"])
    ]
    wrong += [f"{name} is missing" for name in sorted(told["missing_keys"])]
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise RecipeError(
            f"{key}.id: the weights in {weights.location} are not those of its config.json ({'; '.join(wrong[:3])}"
            f"{more}); get the folder anew"
        )
    return found


@functools.cache
def shared_causal_language_model(model: Model, folder: str, threads: int) -> tuple[Any, Any]:
    """`causal_language_model`, loaded once per process: several rules may ask one."""
    import torch

    torch.set_num_threads(threads)
    return causal_language_model(model, folder)


def file_digest(path: Path) -> str:
    """Digest of a file's bytes, which are read once for each size and time of change."""
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
