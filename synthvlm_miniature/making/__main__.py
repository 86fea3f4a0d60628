"""Writes every file of the miniature that is not a model: `python -m synthvlm_miniature.making [FOLDER]`.

Belongs here: which files there are and where they lie. Does not belong here: what is in them (the modules beside this
one).

FOLDER, by default the package itself, gets `sources/` and `benchmark/`; `--only instructions,benchmark` leaves parts
out. The files ship with the repository: the recipe names plain paths that the same readers open as in `paper`, and
nothing is made at run time.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from synthvlm_miniature.making import benchmark, instructions, originals, source_files

PARTS: dict[str, tuple[str, Callable[[Path], list[Path]]]] = {
    "captions": ("sources", source_files.write),
    "originals": ("sources/originals", originals.write),
    "instructions": ("sources", instructions.write),
    "benchmark": ("benchmark", benchmark.write),
}
SHIPPED = Path(__file__).parent.parent


def main() -> None:
    """Write the parts and print each file's size and path."""
    parser = argparse.ArgumentParser(description="Write the miniature's source files, instructions and benchmark.")
    parser.add_argument("folder", type=Path, nargs="?", default=SHIPPED)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    given = parser.parse_args()
    for part in given.only.split(","):
        folder, write = PARTS[part]
        for path in write(given.folder / folder):
            print(f"{path.stat().st_size:>9,}  {path}", flush=True)


if __name__ == "__main__":
    main()
