"""A folder of weights is loaded from its own files, whatever they name: with the network shut.

Belongs here: what a folder's configuration may not name, and that nothing of this process reaches out or into another
model's cached files while a folder is read. Does not belong here: finding, fetching and loading models (weights.py).

Configurations can send a loader elsewhere: open_clip's to another repository for a text tower, an adapter's to its base
model, timm's and transformers' to a hub for a backbone or a kernel. Nothing of that is pinned, and no hash of the
folder would know of it. So what is known to be followed is refused by name, before anything is loaded, and the network
is shut while it is loaded for what is not known. Provenance that no loader follows (`_name_or_path`) stays allowed.
"""

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synthvlm_core import machine
from synthvlm_core.errors import Mendable, RecipeError

ADAPTER = "adapter_config.json"
MAX_CONFIG_BYTES = 4_000_000
"""Of a JSON file that is looked into; larger ones are vocabularies."""
MAX_WORDS = 400
"""Characters that are told of what a loader says; some list all models that there are."""
_REACHING = frozenset({"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"})


class _Here(threading.local):
    """What this thread tried to reach while the network is shut to it; None while it is open."""

    tried: list[str] | None = None


_here = _Here()
_lock = threading.RLock()
_hooked = False


def named_elsewhere(root: Path) -> str | None:
    """The first place where a folder's configuration sends its loader to another model, in words; None if nowhere."""
    for path in sorted(root.rglob("*.json")):
        # with a configuration beside it, it belongs to the model that lies there
        if path.name == ADAPTER and not (path.parent / "config.json").is_file():
            return (
                f"{path} makes the folder an adapter of another model, which is not pinned; merge the adapter into its "
                "base model (peft's `merge_and_unload`) and name the merged folder"
            )
        if path.stat().st_size > MAX_CONFIG_BYTES:
            continue
        try:
            found = json.loads(path.read_bytes())
        except (ValueError, RecursionError):  # whoever needs the file says so
            continue
        for key, value in _walk(found, ""):
            if _followed(key.rpartition(".")[2], value):
                return (
                    f"{path} names {str(value)[:200]!r} at {key}: its loader would follow that out of the folder, to "
                    "what is not pinned; take a folder that holds the whole model"
                )
    return None


@contextlib.contextmanager
def closed(root: Path, where: str) -> Iterator[None]:
    """Nothing that this thread loads in here comes from the network or out of a hub's cache.

    Args:
        root: the folder that is loaded, and `where` what names it, for messages: a key of the recipe or a stage.

    Raises:
        RecipeError: if something was reached for, or if the files do not load.
    """
    from safetensors import SafetensorError

    _hook()
    before, tried = _here.tried, []  # type: ignore[var-annotated]
    _here.tried = tried
    try:
        with _offline():
            yield
    except Mendable:
        raise
    # what loaders make of foreign configurations of any shape, of weights cut short and of packages that they lack
    except (
        *(OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ImportError, SafetensorError),
    ) as error:
        if machine.refusal(error) is not None:
            raise
        if not tried:
            what = " ".join(str(error).split())[:MAX_WORDS]
            raise RecipeError(f"{where}: {root} does not load from its own files: {what}") from error
    finally:
        _here.tried = before
    if tried:
        raise RecipeError(
            f"{where}: {root} reached for {tried[0]} while it was loaded; nothing was sent, since nothing from there "
            "is pinned. Take a folder that holds the whole model"
        )


def _walk(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every value below a JSON value that is no container, with its dotted key."""
    waiting = [(key, value)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{key}.{name}" if key else name, below) for name, below in value.items()]
        elif isinstance(value, list):
            waiting += [(key, below) for below in value]
        else:
            yield key, value


def _followed(name: str, value: Any) -> bool:
    """Whether a loader follows the value of a key of that name to another model or to code."""
    if name in ("use_pretrained_backbone", "timm_model_pretrained", "hf_model_pretrained"):
        return bool(value)
    if not isinstance(value, str):
        return False
    if name in ("hf_model_name", "custom_pipeline"):
        return bool(value)
    if name in ("timm_model_name", "architecture"):
        return ":" in value  # hf-hub:owner/name, local-dir:/path
    if name.startswith("Auto"):  # of an auto_map: owner/name--module.Class
        return "--" in value
    return "attn_implementation" in name and "/" in value


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """The hub's client offline, with an empty cache. A setting of the process: loading is done one model at a time."""
    from huggingface_hub import constants

    with _lock:
        before = constants.HF_HUB_OFFLINE, constants.HF_HUB_CACHE
        constants.HF_HUB_OFFLINE, constants.HF_HUB_CACHE = True, f"{os.devnull}/nothing"  # a folder that cannot be
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE, constants.HF_HUB_CACHE = before


def _hook() -> None:
    """Have the interpreter ask before any socket of a thread whose network is shut connects."""
    global _hooked
    with _lock:
        if not _hooked:
            sys.addaudithook(_ask)  # the one place that every way out of Python code passes; it cannot be removed
            _hooked = True


def _ask(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _REACHING or _here.tried is None:
        return
    address = arguments[0] if event.startswith("socket.get") else arguments[1]
    if event in ("socket.connect", "socket.sendto") and not isinstance(address, tuple):
        return  # a socket of this machine's own
    _here.tried.append(str(address[0] if isinstance(address, tuple) else address))
    raise ConnectionRefusedError("the network is shut while a folder of weights is loaded")
