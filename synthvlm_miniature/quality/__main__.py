"""Prints the quality table of the shipped miniature models: `python -m synthvlm_miniature.quality [FOLDER]`.

Belongs here: the table's layout. Does not belong here: any measurement (the modules beside this one).

FOLDER holds the model folders, by default those of the package; `--only clip,language` leaves parts out. Models that
are not there are left out, too.
"""

import argparse
import importlib
from pathlib import Path

PARTS = {"text_to_image": "text-to-image", "clip": "clip", "language": "language"}
SHIPPED = Path(__file__).parent.parent / "models"


def main() -> None:
    """Measure what there is and print a line as soon as a part is done."""
    parser = argparse.ArgumentParser(description="Measure the miniature models on held-out scenes and texts.")
    parser.add_argument("folder", type=Path, nargs="?", default=SHIPPED)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    arguments = parser.parse_args()
    for part in arguments.only.split(","):
        if not (arguments.folder / PARTS[part]).is_dir():
            print(f"{part}: no folder {PARTS[part]} in {arguments.folder}")
            continue
        for name, value, note in importlib.import_module(f"{__package__}.{part}").rows(arguments.folder):
            shown = value if isinstance(value, str) else f"{value:.3f}"
            print(f"{name:<72} {shown:>8}  {note}", flush=True)


if __name__ == "__main__":
    main()
