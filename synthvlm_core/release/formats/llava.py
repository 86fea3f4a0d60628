"""The set in LLaVA's form: one JSON list of conversations beside the picture files.

Belongs here: the JSON and its file names. Does not belong here: which pairs are released (released.py), the human turn
(instructions.py).

    llava/synthvlm.json                       [{"id", "image", "conversations": [{"from", "value"}, …]}, …] by rank
    llava/images/<3 letters>/<image id>.png   the pictures

The form: https://github.com/haotian-liu/LLaVA/blob/main/docs/Finetune_Custom_Data.md
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Literal

import pyarrow as pa

from synthvlm_core.parts.format import Format, Pair, SetContext, Writer
from synthvlm_core.release.instructions import instruction

JSON_NAME = "synthvlm.json"
AT_ONCE = 8
"""Pictures put or read at once: on a bucket each is a round trip."""
_PICTURE = "<image>"


class Llava(Format):
    """Conversations of one human turn and one answer, the caption."""

    format: Literal["llava"]
    version: ClassVar[int] = 1
    folder: ClassVar[str] = "llava"
    explained: ClassVar[str] = (
        f"the same pairs for LLaVA's loader: `data_path` is `{JSON_NAME}`, `image_folder` is `images/`. Where a "
        "caption says `<image>` it is spelled `< image >`."
    )

    def writer(self, put: Callable[[str, bytes], None], context: SetContext) -> Writer:
        return _Conversations(put, context)

    def pairs(self, get: Callable[[str], bytes], names: list[str], context: SetContext) -> Iterator[Pair]:
        entries = _entries(get(JSON_NAME))
        images = [f"images/{image_path(name, context.extension)}" for name, _, _ in entries]
        for number, name in enumerate(images):
            if name not in names:
                raise ValueError(f"llava/{JSON_NAME}, entry {number}: no file llava/{name}")
        if surplus := set(names) - set(images) - {JSON_NAME}:
            raise ValueError(f"llava/{min(surplus)} is a picture of no conversation")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for start in range(0, len(entries), 8 * AT_ONCE):  # a pool's map starts all at once
                some = slice(start, start + 8 * AT_ONCE)
                hashes = pool.map(lambda name: hashlib.sha256(get(name)).hexdigest(), images[some])
                for (image_id, asked, text), picture_hash in zip(entries[some], hashes, strict=True):
                    yield Pair(image_id, text, picture_hash, asked)

    def pair(self, row: dict[str, Any], context: SetContext) -> Pair:
        human, answer = record(row, context)["conversations"]
        return Pair(row["image_id"], answer["value"], hashlib.sha256(row["image"]["bytes"]).hexdigest(), human["value"])


class _Conversations(Writer):
    def __init__(self, put: Callable[[str, bytes], None], context: SetContext) -> None:
        self._put, self._context = put, context
        self._records: list[dict[str, Any]] = []

    def add(self, rows: pa.Table) -> None:
        found = rows.select(["image_id", "caption_id", "text", "image"]).to_pylist()
        records = [record(row, self._context) for row in found]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            done = pool.map(
                self._put,
                [f"images/{entry['image']}" for entry in records],
                [row["image"]["bytes"] for row in found],
            )
            list(done)  # raises what a put raised
        self._records += records

    def close(self) -> None:
        self._put(JSON_NAME, dumps(self._records))


def image_path(image_id: str, extension: str) -> str:
    """Path of an image below `images/`: 4,096 folders, so that none grows too large to list."""
    return f"{image_id[:3]}/{image_id}.{extension}"


def plain(text: str) -> str:
    """A text that names no picture: `<image>` in a caption or an instruction would be read as another one."""
    return text.replace(_PICTURE, "< image >")


def record(row: dict[str, Any], context: SetContext) -> dict[str, Any]:
    """One entry as LLaVA's loader reads it: id, image below the image folder, two turns."""
    asked = instruction(context.instructions, context.seed, row["caption_id"])
    return {
        "id": row["image_id"],
        "image": image_path(row["image_id"], context.extension),
        "conversations": [
            {"from": "human", "value": f"{plain(asked)}\n{_PICTURE}"},
            {"from": "gpt", "value": plain(row["text"])},
        ],
    }


def dumps(records: list[dict[str, Any]]) -> bytes:
    """The JSON list, one record a line."""
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    return f"[\n{lines}\n]\n".encode()


def _entries(data: bytes) -> list[tuple[str, str, str]]:
    """Image id, human turn and answer of every entry. Raises ValueError naming the first that is none."""
    try:
        entries = json.loads(data)
    except ValueError as error:
        raise ValueError(f"llava/{JSON_NAME} is no JSON ({error})") from error
    if not isinstance(entries, list):
        raise ValueError(f"llava/{JSON_NAME} is no list of conversations")
    found = []
    for number, entry in enumerate(entries):
        match entry:
            case {
                "id": str(image_id),
                "image": str(image),
                "conversations": [{"from": "human", "value": str(asked)}, {"from": "gpt", "value": str(text)}],
            } if len(entry) == 3 and image.rpartition(".")[0] == f"{image_id[:3]}/{image_id}":
                found.append((image_id, asked, text))
            case _:
                raise ValueError(f"llava/{JSON_NAME}, entry {number}: no conversation about one picture")
    return found
