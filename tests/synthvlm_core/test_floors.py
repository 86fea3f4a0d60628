"""Imports run one way: from the upper floors to the lower ones, and never out of the core.

docs/architecture.md draws the floors. Imports within functions count as well; a room of parts is found by its name
(parts/part.py), so that the recipe stands below the parts that it names.
"""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import synthvlm_core
import synthvlm_miniature
from synthvlm_core.errors import Mendable

FLOORS = [
    {
        "errors",
        "bounded_json",
        "_hash_kernels",
        "hashing",
        "decoding",
        "lfs",
        "machine",
        "progress",
        "findings",
        "torchvision_beside_cpu_torch",
    },
    {"store"},
    {"parts"},
    {"recipe"},
    {"stages", "engine"},
    {"models"},
    {"captions"},
    {"images"},
    {"pictures"},
    {"scoring"},
    {"selection"},
    {"release"},
    {"training"},
    {"evaluation"},
    {"checking", "graph", "standing"},
    {"plan"},
    {"cli"},
]
"""From bottom to top. Rooms of one floor do not import each other, but for the lowest, where order follows from use."""

FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}
CORE = Path(synthvlm_core.__file__).parent
MINIATURE = Path(synthvlm_miniature.__file__).parent


def imports(package: Path) -> Iterator[tuple[str, str]]:
    """(module, what it imports) of every import in a package, full names."""
    for path in sorted(package.rglob("*.py")):
        parts = [package.name, *path.relative_to(package).with_suffix("").parts]
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(node, ast.Import):
                yield from ((module, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module}: relative import"
                # `from room import module` imports the module, `from module import name` does not
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    yield module, inner if is_module(inner) else str(node.module)


def is_module(name: str) -> bool:
    path = package_file(name)
    return path is not None and (path.with_suffix(".py").is_file() or path.is_dir())


def package_file(name: str) -> Path | None:
    first, *rest = name.split(".")
    root = {"synthvlm_core": CORE, "synthvlm_miniature": MINIATURE}.get(first)
    return root.joinpath(*rest) if root else None


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


CORE_IMPORTS = sorted(set(imports(CORE)))
WITHIN = [(module, other) for module, other in CORE_IMPORTS if room(module) and other.startswith("synthvlm_core.")]


def test_every_room_has_its_floor() -> None:
    rooms = {path.stem for path in CORE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert rooms - {"__init__"} == set(FLOOR_OF)


def test_no_room_imports_a_higher_one_or_one_beside_it() -> None:
    wrong = []
    for module, other in WITHIN:
        own, theirs = FLOOR_OF[room(module)], FLOOR_OF[room(other)]
        if room(module) != room(other) and (own < theirs or own == theirs > 0):
            wrong.append(f"{module} imports {other}")
    assert wrong == []


def test_the_package_itself_stands_on_the_ground_floor() -> None:
    found = [other for module, other in CORE_IMPORTS if not room(module) and other.startswith("synthvlm_core.")]
    assert all(FLOOR_OF[room(other)] == 0 for other in found)


@pytest.mark.parametrize("forbidden", ["dagster", "synthvlm_assets", "synthvlm_miniature", "tests", "harness"])
def test_the_core_stands_without(forbidden: str) -> None:
    assert [found for found in CORE_IMPORTS if found[1].split(".")[0] == forbidden] == []


def test_the_miniature_is_known_to_nobody_and_knows_only_the_core() -> None:
    found = {other.split(".")[0] for _, other in imports(MINIATURE) if other.startswith("synthvlm")}
    assert found <= {"synthvlm_core", "synthvlm_miniature"}
    assert "dagster" not in {other.split(".")[0] for _, other in imports(MINIATURE)}


def test_no_modules_import_each_other_in_a_circle() -> None:
    edges: dict[str, set[str]] = {}
    for module, other in [*WITHIN, *imports(MINIATURE)]:
        if other.startswith(("synthvlm_core.", "synthvlm_miniature.")) and other != module:
            edges.setdefault(module, set()).add(other)
    done: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for other in sorted(edges.get(module, ())):
                walk(other, (*way, module))
            done.add(module)

    for module in sorted(edges):
        walk(module, ())


INTERNAL = {
    "Unreadable": "captions/judging.py and files.py turn it into a SourceError",
    "Broken": "captions/readers/lists.py turns it into an Unreadable",
    "NotOne": "captions/readers/json_lines.py and img2dataset.py turn it into a reason of the quarantine",
    "Refused": "captions/readers/opening.py turns it into an Unreadable",
    "NoCaptionId": "captions/merged.py turns it into a DamagedShard",
    "WrongCount": "captions/merged.py turns it into a DamagedShard",
    "Partly": "engine.py stores what it brings and raises the error behind it",
    "_Failed": "captions/originals/fetching.py turns it into an outcome",
    "_Damaged": "captions/readers/tars.py turns it into an Unreadable",
}
"""Exceptions that nobody outside of the core sees, with the reason. What a person must mend is Mendable."""


def exceptions() -> list[type[BaseException]]:
    found: dict[str, type[BaseException]] = {}
    for module in pkgutil.walk_packages([str(CORE)], "synthvlm_core."):
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(cls, BaseException) and cls.__module__.startswith("synthvlm_core"):
                found[f"{cls.__module__}.{cls.__qualname__}"] = cls
    return [found[name] for name in sorted(found)]


def test_what_a_person_must_mend_is_mendable() -> None:
    found = exceptions()
    assert len(found) > 8
    others = {cls.__name__: cls for cls in found if not issubclass(cls, Mendable)}
    assert sorted(others) == sorted(INTERNAL)
    assert all(cls.__doc__ for cls in found)
