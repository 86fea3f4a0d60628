"""The command line of a training: a folder, and an option for every setting.

Belongs here: how settings become options. Does not belong here: the settings (each room's settings.py).
"""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

S = TypeVar("S")


def parser(description: str | None, settings: type) -> argparse.ArgumentParser:
    """A parser of FOLDER and of one option for each field of a dataclass whose fields all have plain defaults."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("folder", type=Path, help="where the model's folder is written")
    for field in fields(settings):
        made.add_argument("--" + field.name.replace("_", "-"), type=type(field.default), default=field.default)
    return made


def chosen(given: argparse.Namespace, settings: type[S]) -> S:
    """The settings among parsed arguments."""
    return settings(**{field.name: getattr(given, field.name) for field in fields(settings)})  # type: ignore[arg-type]
