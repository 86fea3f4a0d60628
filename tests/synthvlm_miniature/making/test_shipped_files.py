"""The files that ship are what the package makes, byte for byte."""

from pathlib import Path

from synthvlm_miniature.making import benchmark, instructions
from synthvlm_miniature.making.__main__ import PARTS, SHIPPED


def test_the_shipped_files_are_made_again_and_there_are_no_others(tmp_path: Path) -> None:
    made = {path.relative_to(tmp_path) for folder, write in PARTS.values() for path in write(tmp_path / folder)}
    for path in made:
        assert (tmp_path / path).read_bytes() == (SHIPPED / path).read_bytes(), path
    shipped = [path for folder in ("sources", "benchmark") for path in (SHIPPED / folder).rglob("*") if path.is_file()]
    assert made == {path.relative_to(SHIPPED) for path in shipped}


def test_another_seed_gives_other_instructions(tmp_path: Path) -> None:
    one, two = (instructions.write(tmp_path / str(seed), n=8, seed=seed) for seed in (1, 2))
    assert all(a.read_bytes() != b.read_bytes() for a, b in zip(one, two, strict=True))


def test_a_shorter_benchmark_is_the_beginning_of_the_shipped_one(tmp_path: Path) -> None:
    questions, _, captions = benchmark.write(tmp_path, {"test": 30}, captions=20)
    for path in (questions, captions):
        assert (SHIPPED / "benchmark" / path.name).read_bytes().startswith(path.read_bytes())
