"""Ways in which a stored object may be damaged, forged or hidden.

Belongs here: planting one fault at one file of a local store. Does not belong here: which file (trials.py), whether
somebody notices.

A way is a function of the file and the circumstances. It says what it did in a few words, or None where it does not
apply to such a file; it changes nothing then.
"""

import io
import json
import os
import random
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from synthvlm_core.hashing import ContentHash


@dataclass(frozen=True)
class Circumstances:
    """What a way of damaging may need to know."""

    root: Path
    """Of the store."""
    others: tuple[Path, ...]
    """Further objects of the same kind with other bytes."""
    chance: random.Random


Way = Callable[[Path, Circumstances], str | None]

NESTED = 200_000
DIGITS = 66_000


def missing(path: Path, here: Circumstances) -> str | None:
    path.unlink()
    return "deleted"


def truncated(path: Path, here: Circumstances) -> str | None:
    size = path.stat().st_size
    if size < 2:
        return None
    kept = here.chance.randrange(1, size)
    os.truncate(path, kept)
    return f"cut to {kept} of {size} bytes"


def empty(path: Path, here: Circumstances) -> str | None:
    if not path.stat().st_size:
        return None
    os.truncate(path, 0)
    return "cut to nothing"


def bit_flipped(path: Path, here: Circumstances) -> str | None:
    data = bytearray(path.read_bytes())
    if not data:
        return None
    place, bit = here.chance.randrange(len(data)), here.chance.randrange(8)
    data[place] ^= 1 << bit
    path.write_bytes(data)
    return f"bit {bit} of byte {place} flipped"


def longer(path: Path, here: Circumstances) -> str | None:
    with path.open("ab") as file:
        file.write(here.chance.randbytes(100))
    return "100 bytes more at the end"


def swapped(path: Path, here: Circumstances) -> str | None:
    if not here.others:
        return None
    other = here.chance.choice(here.others)
    path.write_bytes(other.read_bytes())
    return f"has the bytes of {other.relative_to(here.root)}"


def replaced(path: Path, here: Circumstances) -> str | None:
    """By another of its kind, under a name that fits: what stands in one place stands in another as well."""
    if not here.others or path.suffix != ".parquet" or len(_hash_of(path)) != 32:
        return None
    other = here.chance.choice(here.others)
    target = path.with_name(path.stem[: -len(_hash_of(path))] + _hash_of(other) + path.suffix)
    if target.exists():
        return None
    shutil.copyfile(other, target)
    path.unlink()
    return f"replaced by {other.relative_to(here.root)} as {target.name}"


def folder_instead(path: Path, here: Circumstances) -> str | None:
    path.unlink()
    path.mkdir()
    return "a folder in its place"


def full_folder_instead(path: Path, here: Circumstances) -> str | None:
    path.unlink()
    path.mkdir()
    (path / "notes.txt").write_text("of a person who tidied up")
    return "a folder with a file in its place"


def dangling_link(path: Path, here: Circumstances) -> str | None:
    path.unlink()
    path.symlink_to(path.with_name("gone"))
    return "a link to nothing"


def unreadable(path: Path, here: Circumstances) -> str | None:
    if os.geteuid() == 0:
        return None  # root reads everything
    path.chmod(0)
    return "mode 000"


def old(path: Path, here: Circumstances) -> str | None:
    os.utime(path, (978_307_200, 978_307_200))
    return "changed in 2001, says the file system"


def foreign_beside(path: Path, here: Circumstances) -> str | None:
    target = path.with_name(f"foreign{path.suffix}")
    if target.exists():
        return None
    target.write_bytes(here.chance.randbytes(200))
    return f"{target.name} with 200 random bytes beside it"


def copy_beside(path: Path, here: Circumstances) -> str | None:
    target = path.with_name(f"copy-of-{path.name}")
    shutil.copyfile(path, target)
    return f"{target.name} beside it"


def forged_beside(path: Path, here: Circumstances) -> str | None:
    """Sound, of the right columns, with other rows, beside the true one."""
    return _forge(path, here, beside=True)


def forged(path: Path, here: Circumstances) -> str | None:
    """Sound, of the right columns, with other rows, in place of the true one; manifests name it with its hashes, but
    for the content hash of the whole."""
    return _forge(path, here, beside=False)


def json_list(path: Path, here: Circumstances) -> str | None:
    return _json_instead(path, b"[]")


def json_null(path: Path, here: Circumstances) -> str | None:
    return _json_instead(path, b"null")


def json_number(path: Path, here: Circumstances) -> str | None:
    return _json_instead(path, b"7")


def json_text(path: Path, here: Circumstances) -> str | None:
    return _json_instead(path, b'"done"')


def json_empty_object(path: Path, here: Circumstances) -> str | None:
    return _json_instead(path, b"{}")


def json_not_utf8(path: Path, here: Circumstances) -> str | None:
    return _json_instead(path, '{"name": "müde"}'.encode("latin-1"))


def json_nested(path: Path, here: Circumstances) -> str | None:
    return _json_instead(path, b"[" * NESTED)


def json_long_number(path: Path, here: Circumstances) -> str | None:
    """In place of one of its numbers, or of all."""

    def long(values: list[tuple[Any, Any]]) -> str:
        numbers = [(holder, key) for holder, key in values if type(holder[key]) is int]
        holder, key = here.chance.choice(numbers or values)
        holder[key] = "@long@"
        return f"{key!r} has {DIGITS} digits"

    told = _json_changed(path, long)
    if told is not None:
        path.write_bytes(path.read_bytes().replace(b'"@long@"', b"9" * DIGITS))
    return told


def json_key_missing(path: Path, here: Circumstances) -> str | None:
    def drop(values: list[tuple[Any, Any]]) -> str:
        holder, key = here.chance.choice(values)
        del holder[key]
        return f"without {key!r}"

    return _json_changed(path, drop)


def json_top_key_missing(path: Path, here: Circumstances) -> str | None:
    def drop(values: list[tuple[Any, Any]]) -> str:
        top = values[0][0]
        key = here.chance.choice(list(top) if isinstance(top, dict) else list(range(len(top))))
        del top[key]
        return f"without {key!r}"

    return _json_changed(path, drop)


def json_key_added(path: Path, here: Circumstances) -> str | None:
    def add(values: list[tuple[Any, Any]]) -> str:
        holders = [holder for holder, _ in values if isinstance(holder, dict)]
        here.chance.choice(holders)["of_tomorrow"] = {"new": True}
        return "with a key 'of_tomorrow'"

    return _json_changed(path, add)


def json_other_type(path: Path, here: Circumstances) -> str | None:
    def change(values: list[tuple[Any, Any]]) -> str:
        holder, key = here.chance.choice(values)
        before = holder[key]
        kinds: list[Any] = [None, 3, -1, 2.5, "text", "", [], {}, [None], {"name": 5}, True]
        holder[key] = here.chance.choice([value for value in kinds if type(value) is not type(before)])
        return f"{key!r} is {holder[key]!r} instead of {str(before)[:60]!r}"

    return _json_changed(path, change)


def json_other_value(path: Path, here: Circumstances) -> str | None:
    def change(values: list[tuple[Any, Any]]) -> str | None:
        plain = [(h, k) for h, k in values if isinstance(h[k], str | int | float) and not isinstance(h[k], bool)]
        if not plain:
            return None
        holder, key = here.chance.choice(plain)
        before = holder[key]
        if isinstance(before, str):
            holder[key] = before[:-1] + ("0" if before[-1:] != "0" else "1")
        else:
            holder[key] = before + 1
        return f"{key!r} is {str(holder[key])[:60]!r} instead of {str(before)[:60]!r}"

    return _json_changed(path, change)


def json_names_lead_out(path: Path, here: Circumstances) -> str | None:
    def change(values: list[tuple[Any, Any]]) -> str | None:
        texts = [(holder, key) for holder, key in values if isinstance(holder[key], str)]
        if not texts:
            return None
        holder, key = here.chance.choice(texts)
        before = holder[key]
        holder[key] = here.chance.choice(["../../../etc/passwd", f"../{before}", "/etc/passwd", f"a/../../{before}"])
        return f"{key!r} is {holder[key][:60]!r} instead of {before[:60]!r}"

    return _json_changed(path, change)


WAYS: tuple[Way, ...] = (
    missing,
    truncated,
    empty,
    bit_flipped,
    longer,
    swapped,
    replaced,
    folder_instead,
    full_folder_instead,
    dangling_link,
    unreadable,
    old,
    foreign_beside,
    copy_beside,
    forged_beside,
    forged,
    json_list,
    json_null,
    json_number,
    json_text,
    json_empty_object,
    json_not_utf8,
    json_nested,
    json_long_number,
    json_key_missing,
    json_top_key_missing,
    json_key_added,
    json_other_type,
    json_other_value,
    json_names_lead_out,
)

HARMLESS = (old, foreign_beside, copy_beside, json_key_added)
"""What nobody has to notice, since it takes nothing away: that it changes nothing is shown all the same."""


def applies(way: Way, path: Path) -> bool:
    """Whether a way can be tried at such a file, as far as its name tells."""
    name = way.__name__
    if name.startswith("json_"):
        return path.suffix == ".json"
    if name.startswith("forged"):
        return path.suffix in (".parquet", ".safetensors", ".tar", ".png") and not (
            name == "forged_beside" and path.suffix in (".png", ".safetensors")
        )
    if way is replaced:
        return path.suffix == ".parquet"
    return way is not unreadable or os.geteuid() != 0


def _json_instead(path: Path, data: bytes) -> str | None:
    if path.suffix != ".json" or path.read_bytes() == data:
        return None
    path.write_bytes(data)
    return f"holds {data[:20].decode('latin-1')!r}{' …' if len(data) > 20 else ''}"


def _json_changed(path: Path, change: Callable[[list[tuple[Any, Any]]], str | None]) -> str | None:
    """Change a JSON document by one of its values, each given by what holds it and its key."""
    if path.suffix != ".json":
        return None
    document = json.loads(path.read_bytes())
    values: list[tuple[Any, Any]] = []
    holders: list[Any] = [document]
    for holder in holders:
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        values += [(holder, key) for key in keys]
        holders += [holder[key] for key in keys if isinstance(holder[key], dict | list)]
    told = change(values) if values else None
    if told is not None:
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False))
    return told


def _hash_of(path: Path) -> str:
    """The hash at the end of a shard's name, empty if there is none."""
    tail = path.stem[-32:]
    return tail if len(tail) == 32 and all(letter in "0123456789abcdef" for letter in tail) else ""


def _forge(path: Path, here: Circumstances, *, beside: bool) -> str | None:
    before = path.read_bytes()
    if path.suffix == ".parquet":
        found = _other_rows(before, here.chance)
    elif path.suffix == ".safetensors":
        found = _other_weights(before)
    elif path.suffix == ".tar":
        found = _other_members(before)
    elif path.suffix == ".png":
        found = _other_picture(before)
    else:
        return None
    if found is None:
        return None
    data, told = found
    stem = path.stem.removesuffix(_hash_of(path))
    if _hash_of(path):
        target = path.with_name(f"{stem}{sha256(data).hexdigest()[:32]}{path.suffix}")
    elif beside:
        target = path.with_name(f"{path.stem.replace('00000', '00007')}-more{path.suffix}")
    else:
        target = path
    if beside and target.exists():
        return None
    target.write_bytes(data)
    if not beside:
        if target != path:
            path.unlink()
        _tell_manifests(here.root, path.name, before, target.name, data)
    return f"{told} in {target.name} {'beside it' if beside else 'in its place, told to the manifests'}"


def _other_rows(data: bytes, chance: random.Random) -> tuple[bytes, str] | None:
    table = pq.read_table(io.BytesIO(data))
    if not table.num_rows:
        return None
    rows = table.to_pylist()
    row = chance.randrange(len(rows))
    names = [name for name, value in rows[row].items() if isinstance(value, str | float) and name != "source"]
    wanted = [n for n in ("value", "text", "clip_score", "weighted_score", "perplexity", "reason") if n in names]
    name = chance.choice(wanted or names)
    value = rows[row][name]
    rows[row][name] = value + 0.7 if isinstance(value, float) else f"{value} that was forged"
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, table.schema), buffer, compression="zstd")
    return buffer.getvalue(), f"another {name!r} in row {row}"


def _other_weights(data: bytes) -> tuple[bytes, str]:
    from safetensors.numpy import load, save

    values = load(data)
    name = sorted(values)[0]
    values[name] = values[name] * 1.5
    return save(values, metadata={"format": "pt"}), f"{name} half as large again"


def _other_members(data: bytes) -> tuple[bytes, str] | None:
    buffer = io.BytesIO()
    told = None
    with tarfile.open(fileobj=io.BytesIO(data)) as old_tar, tarfile.open(fileobj=buffer, mode="w") as new_tar:
        for member in old_tar:
            content = old_tar.extractfile(member).read()  # type: ignore[union-attr]  # files alone
            if told is None and member.name.endswith(".txt"):
                content, told = content + b" that was forged", f"another {member.name}"
                member.size = len(content)
            new_tar.addfile(member, io.BytesIO(content))
    return (buffer.getvalue(), told) if told else None


def _other_picture(data: bytes) -> tuple[bytes, str]:
    from PIL import Image, ImageOps

    buffer = io.BytesIO()
    ImageOps.invert(Image.open(io.BytesIO(data)).convert("RGB")).save(buffer, "PNG")
    return buffer.getvalue(), "its negative"


def _tell_manifests(root: Path, name: str, before: bytes, new_name: str, data: bytes) -> None:
    """Let every JSON document of the store that names the file, or its hash, name the other."""
    digest, new_digest = sha256(before).hexdigest(), sha256(data).hexdigest()
    content, new_content = (_content_hash(one) for one in (before, data))
    for path in sorted(root.rglob("*.json")):
        try:
            document = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        entries = [document]
        changed = False
        for entry in entries:
            if isinstance(entry, list):
                entries += entry
            elif isinstance(entry, dict):
                entries += entry.values()
                told = entry.get("sha256") == digest or entry.get("name") == name
                if told and str(entry.get("name")).rsplit("/", 1)[-1] == name:
                    entry["name"] = str(entry["name"]).removesuffix(name) + new_name
                    changed = True
                    for key, value in (("size", len(data)), ("sha256", new_digest)):
                        if key in entry:
                            entry[key] = value
                    if content is not None and entry.get("content_hash") == content:
                        entry["content_hash"] = new_content
        if changed:
            path.write_text(json.dumps(document, indent=1, ensure_ascii=False))


def _content_hash(data: bytes) -> str | None:
    if data[:4] != b"PAR1":
        return None
    content = ContentHash()
    content.add_table(pq.read_table(io.BytesIO(data)))
    return content.hexdigest
