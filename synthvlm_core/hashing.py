"""Content hashes and the ids built from them.

Belongs here: every hash that ends up in a file name, a column or a data version. Does not belong here: what is
hashed (parts/section.py, the stages) or random numbers. docs/architecture.md has the five words for hashes.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

DIGEST_BYTES = 16

_ROWS = 8192
"""Rows hashed together: their messages stay in the processor's cache."""
_Cells = tuple[NDArray[np.uint8], tuple[NDArray[np.uint8], NDArray[np.int64]], NDArray[np.bool_]]
"""A column of cells: the label before each, the bytes and offsets, and which are there."""


def digest(*parts: bytes) -> str:
    """128-bit BLAKE2b of length-prefixed parts as 32 hex characters, so that ("ab", "c") and ("a", "bc") differ."""
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.hexdigest()


def of_json(value: Any) -> str:
    """Digest of a JSON value, independent of key order.

    Raises:
        ValueError: if the value holds NaN or infinity, which have no single JSON spelling.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return digest(text.encode())


def caption_ids(source: str, texts: pa.Array | pa.ChunkedArray) -> pa.StringArray:
    """Caption id of every raw text of one source: digest of (source, raw text). Texts are strings without nulls."""
    from synthvlm_core import _hash_kernels  # only those who hash rows load numba

    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    name = source.encode()
    prefix = np.frombuffer(len(name).to_bytes(8, "little") + name, np.uint8)
    ids = np.empty(2 * DIGEST_BYTES * len(texts), np.uint8)
    for first in range(0, len(texts), _ROWS):
        data, offsets = _utf8(texts.slice(first, _ROWS))
        lengths = np.diff(offsets) + len(prefix) + 8
        firsts, blocks = _blocks(lengths, 128)
        message = np.zeros(128 * int(blocks.sum()), np.uint8)
        _hash_kernels.write_messages(message, firsts, prefix, data, offsets)
        digests = np.empty((len(lengths), 2), np.uint64)
        _hash_kernels.blake2b_128(message.view("<u8"), firsts, lengths, _by_length(blocks), digests)
        _hash_kernels.hexadecimals(digests, ids[2 * DIGEST_BYTES * first :])
    places = np.arange(0, len(ids) + 1, 2 * DIGEST_BYTES, dtype=np.int32)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(places), pa.py_buffer(ids))


class ContentHash:
    """Order-free hash of a multiset of rows: the sum of the rows' MD5 digests, each a little-endian number of 128 bits
    whose upper and lower half are summed by themselves modulo 2**64.

    A row is spelled as `<name>:<bytes>:<value>` for each column in the order of the names, nothing for a null: a
    column that is new and null everywhere changes no hash. Text is UTF-8, a number of any width its 64-bit integer in
    decimals (of a float the bits of the double, -0.0 as 0.0), a boolean 0 or 1, bytes their SHA-256 in hexadecimals, a
    struct its children as `<name>.<child>`. It is computed a column at a time.

    Sharding, interruption and arrival order cannot show in it; a missing, changed or doubled row does. It guards
    against accidents. Against somebody who forges rows at will a sum is not collision-resistant; the bytes of each
    shard are, through the SHA-256 in its name.
    """

    def __init__(self, high: int = 0, low: int = 0) -> None:
        self._high, self._low = high, low

    def add_table(self, table: pa.Table) -> None:
        """Add every row of a table. Column order does not matter, column names do."""
        if not table.num_rows:
            return
        from synthvlm_core import _hash_kernels  # only those who hash rows load numba

        for first in range(0, table.num_rows, _ROWS):
            part = table.slice(first, _ROWS)
            cells = [cell for name in sorted(table.column_names) for cell in _cells(part[name], name)]
            lengths = np.zeros(part.num_rows, np.int64)
            for label, (_, offsets), valid in cells:
                _hash_kernels.add_lengths(lengths, label, offsets, valid)
            firsts, blocks = _blocks(lengths + 9, 64)  # behind the bytes one that ends them, and 8 for their length
            message = np.zeros(64 * int(blocks.sum()), np.uint8)
            places = 64 * firsts
            for label, (data, offsets), valid in cells:
                _hash_kernels.write_cells(message, places, label, data, offsets, valid)
            message[places] = 0x80
            message.view("<u8")[8 * (firsts + blocks) - 1] = 8 * lengths
            self._add(*map(int, _hash_kernels.md5_sums(message.view("<u4"), firsts, blocks, _by_length(blocks))))

    def merge(self, other: "ContentHash | str") -> None:
        """Add the rows behind another content hash."""
        if isinstance(other, str):
            other = ContentHash(int(other[:16], 16), int(other[16:], 16))
        self._add(other._high, other._low)

    def _add(self, high: int, low: int) -> None:
        self._high, self._low = (self._high + high) % (1 << 64), (self._low + low) % (1 << 64)

    @property
    def hexdigest(self) -> str:
        return f"{self._high:016x}{self._low:016x}"


def content_hash(tables: Iterable[pa.Table]) -> str:
    """The content hash of some tables' rows together."""
    content = ContentHash()
    for table in tables:
        content.add_table(table)
    return content.hexdigest


def _cells(column: pa.ChunkedArray, name: str) -> list[_Cells]:
    """A column spelled as `ContentHash` says; a struct is several."""
    kind = column.type
    if pa.types.is_struct(kind):
        children = [
            pa.chunked_array([chunk.flatten()[place] for chunk in column.chunks], kind.field(place).type)
            for place in range(kind.num_fields)
        ]
        return [
            cell for place, child in enumerate(children) for cell in _cells(child, f"{name}.{kind.field(place).name}")
        ]
    if pa.types.is_floating(kind):
        wide = pc.add(column.cast(pa.float64()), 0.0)  # -0.0 and 0.0 are equal, so their bits must be
        column = pa.chunked_array([chunk.view(pa.int64()) for chunk in wide.chunks], pa.int64())
    elif pa.types.is_boolean(kind):
        column = column.cast(pa.int64())
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        digests = [None if cell is None else hashlib.sha256(cell).hexdigest() for cell in column.to_pylist()]
        column = pa.chunked_array([pa.array(digests, pa.string())])
    elif not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise TypeError(f"no canonical bytes for Arrow type {kind}")
    spelled = pa.concat_arrays(column.cast(pa.large_string()).chunks)
    valid = np.asarray(spelled.is_valid())
    return [(np.frombuffer(f"{name}:".encode(), np.uint8), _utf8(spelled), valid)]


def _utf8(texts: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes behind an array of strings, and where each begins and the last ends."""
    array = texts.cast(pa.large_string())
    _, offsets, data = array.buffers()
    bytes_, starts = (
        np.frombuffer(data or b"", np.uint8),
        np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8),
    )
    # Arrow's buffers come writable or not, by origin; numba would compile the kernels once for each mixture
    bytes_.flags.writeable = starts.flags.writeable = False
    return bytes_, starts


def _blocks(lengths: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For messages of some lengths the block at which each begins if they lie one behind the other, and how many."""
    blocks = (lengths + size - 1) // size
    return np.cumsum(blocks) - blocks, blocks


def _by_length(blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Messages in an order in which those of equal length are neighbours."""
    return np.argsort(np.minimum(blocks, 2**15 - 1).astype(np.int16), kind="stable")  # by radix, as it is 16 bits
