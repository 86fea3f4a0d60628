"""Packed caption files: seconds to unpack through our door and to read as rows, beside the decompressor alone.

    python benchmarks/reading.py [ROWS]

One CC3M list of generated lines as it is, as .gz, .zst, .xz, .bz2 and .zip. The decompressor is the library's own, in
blocks of one megabyte, in the same run; ours adds the bounds on what a file may unpack to.
"""

import argparse
import bz2
import gzip
import lzma
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from synthvlm_core.captions import files, judging
from synthvlm_core.captions.readers import opening
from synthvlm_core.parts.part import kinds

BLOCK = 1 << 20


def lines(rows: int) -> bytes:
    """Captions of 4 to 16 words and an address each."""
    rng = np.random.default_rng(0)
    words = [f"word{number}" for number in range(5_000)]
    drawn = rng.integers(0, len(words), (rows, 16))
    lengths = rng.integers(4, 17, rows)
    return b"".join(
        f"{' '.join(words[one] for one in row[:length])}\thttp://example.com/{number}.jpg\n".encode()
        for number, (row, length) in enumerate(zip(drawn.tolist(), lengths.tolist(), strict=True))
    )


def through(handle: Any) -> int:
    total = 0
    while block := handle.read(BLOCK):
        total += len(block)
    return total


def zip_up(path: Path, data: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cc.tsv", data)


def zipped(path: Path) -> Any:
    archive = zipfile.ZipFile(path)
    return archive.open(archive.namelist()[0])


WAYS: dict[str, tuple[Callable[[Path, bytes], Any], Callable[[Path], Any]]] = {
    "": (lambda path, data: path.write_bytes(data), lambda path: path.open("rb")),
    ".gz": (lambda path, data: path.write_bytes(gzip.compress(data, 6)), lambda path: gzip.GzipFile(path)),
    ".zst": (
        lambda path, data: path.write_bytes(pa.compress(data, "zstd", asbytes=True)),
        lambda path: pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"),
    ),
    ".xz": (lambda path, data: path.write_bytes(lzma.compress(data, preset=1)), lambda path: lzma.LZMAFile(path)),  # noqa: SIM115
    ".bz2": (lambda path, data: path.write_bytes(bz2.compress(data)), lambda path: bz2.BZ2File(path)),
    ".zip": (zip_up, zipped),
}


def timed(work: Callable[[], Any]) -> float:
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rows", type=int, nargs="?", default=500_000)
    data = lines(parser.parse_args().rows)
    cc3m = kinds("synthvlm_core.captions.readers")["cc3m"]
    print(f"{len(data) / 1e6:.0f} MB unpacked")
    print("file        alone    ours  ratio    rows")
    with tempfile.TemporaryDirectory() as folder:
        for ending, (write, alone) in WAYS.items():
            path = Path(folder, f"cc.tsv{ending}")
            write(path, data)

            def ours(path: Path = path) -> int:
                with opening.opened(str(path)) as handle:
                    return through(handle)

            source: Any = cc3m.model_validate({"name": "cc", "format": "cc3m", "files": (str(path),)})
            [file] = files.input_files(source, folder)
            floor = timed(lambda path=path, alone=alone: through(alone(path)))
            unpacked = timed(ours)
            rows = timed(lambda source=source, file=file: sum(one.rows for one in judging.read(source, file)))
            print(f"cc.tsv{ending:5} {floor:5.2f} s {unpacked:5.2f} s  {unpacked / floor:5.2f} {rows:5.2f} s")


if __name__ == "__main__":
    main()
