"""Step checkpoints: what a killed run left, and whether it can be gone on from.

Belongs here: the marker that vouches for a step checkpoint's files, proving them, falling back. Does not belong here:
what the files hold and when they are written (loop.py), finished checkpoints (checkpoints.py).

    <work>/checkpoint-<step>/    the trainer's files, then `complete`: sizes and hashes of all of them

The marker comes last, so a kill in the middle of writing leaves a folder without one. A folder counts if it holds the
files that its marker names, with their bytes, and no others, and if they are what a trainer can take: pickles of plain
values, the parameters that are trained. Whatever else is found is told, removed, and the one before is taken, or
training begins anew; the result is the same to the bit, since a step checkpoint only saves time.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

MARKER = "complete"
TRAINED = "trained.safetensors"
MAX_MARKER_BYTES = 1_000_000
_NAME = re.compile(r"checkpoint-(\d{1,12})")


def mark(folder: Path) -> None:
    """Vouch for all files of a step checkpoint, once they are on the disk."""
    files = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as written:
            os.fsync(written.fileno())
        files[path.name] = _proof(path)
    unfinished = folder / f"{MARKER}.tmp"
    with unfinished.open("w") as file:
        json.dump({"files": files}, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(folder / MARKER)


def newest(work: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path | None:
    """The newest step checkpoint that can be gone on from; what lies behind it and is unfinished or wrong is removed.

    Args:
        shapes: of the parameters that are trained, by name.
    """
    found = [(int(match[1]), path) for path in work.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))]
    for step, folder in sorted(found, reverse=True):
        why = _wrong(folder, step, shapes)
        if why is None:
            return folder
        if why:
            log.warning(
                "%s cannot be gone on from and is removed: %s; training goes on from the step checkpoint before it, or "
                "begins anew, with the same result",
                folder,
                why,
            )
        _remove(folder)
    return None


def step_of(folder: Path) -> int:
    """The optimizer step after which a step checkpoint was written."""
    return int(folder.name.rsplit("-", 1)[1])


def _wrong(folder: Path, step: int, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """What is wrong with a step checkpoint, in words; "" if it was never finished, None if nothing is."""
    if folder.is_symlink() or not folder.is_dir():
        return "it is no folder"
    if not (folder / MARKER).exists():
        return ""
    try:
        return _unlike_marker(folder) or _unusable(folder, step, shapes)
    except Exception as error:  # noqa: BLE001  # readers of pickles answer foreign bytes with whatever they tripped over
        return f"{type(error).__name__}: {error}"


def _unlike_marker(folder: Path) -> str | None:
    marker = folder / MARKER
    if marker.is_symlink():
        return f"{MARKER} is a link"
    if marker.stat().st_size > MAX_MARKER_BYTES:
        return f"{MARKER} is too large"
    try:
        told: Any = json.loads(marker.read_bytes())
        files: Any = told["files"] if isinstance(told, dict) else None
    except (ValueError, KeyError, RecursionError):
        files = None
    if not isinstance(files, dict):
        return f"{MARKER} does not say which files there are"
    there = {path.name for path in folder.iterdir()} - {MARKER}
    if there != set(files):
        return f"it holds {sorted(there)} and {MARKER} names {sorted(files)}"
    for name, proof in files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            return f"{name} is no file"
        if _proof(path) != proof:
            return f"{name} has other bytes than {MARKER} says"
    return None


def _unusable(folder: Path, step: int, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    import torch
    from safetensors import safe_open
    from transformers import TrainerState
    from transformers.trainer_pt_utils import safe_globals

    if not {TRAINED, "optimizer.pt", "scheduler.pt", "trainer_state.json"} <= {path.name for path in folder.iterdir()}:
        return "it lacks files that a trainer needs"
    with safe_open(folder / TRAINED, framework="pt") as stored:
        held = {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118, no mapping
    if held != dict(shapes):
        return f"{TRAINED} holds other parameters than are trained"
    for path in sorted(folder.glob("*.pt*")):
        with safe_globals():  # type: ignore[no-untyped-call]  # plain values and numpy's alone: whatever else a pickle asks for is refused, not run
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if (said := TrainerState.load_from_json(str(folder / "trainer_state.json")).global_step) != step:
        return f"trainer_state.json is of step {said}"
    return None


def _proof(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"size": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    else:
        shutil.rmtree(path)
