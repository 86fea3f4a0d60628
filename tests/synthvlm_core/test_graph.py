"""The list of stages: complete, in an order in which they can run, and cheap to import."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from synthvlm_core import graph
from synthvlm_core.stages import Stage


def concrete(cls: type[Stage]) -> list[type[Stage]]:
    """Every stage that core defines."""
    found = [] if inspect.isabstract(cls) or not cls.__module__.startswith("synthvlm_core.") else [cls]
    return [*found, *(stage for child in cls.__subclasses__() for stage in concrete(child))]


def test_the_names_are_the_assets() -> None:
    assert [stage.name for stage in graph.STAGES] == [
        "raw_captions",
        "filtered_captions",
        "synthetic_images",
        "scored_pairs",
        "synthvlm_100k",
        "projector_checkpoint",
        "vlm_checkpoint",
        "evaluation",
    ]


def test_every_stage_is_in_the_list() -> None:
    """Every one that has a name of its own: `plan` makes one up that is no asset."""
    named = {stage for stage in concrete(Stage) if "name" in vars(stage)}
    assert named == set(graph.STAGES)


@pytest.mark.parametrize("stage", graph.STAGES, ids=lambda stage: stage.name)
def test_a_stage_is_found_by_its_name(stage: type[Stage]) -> None:
    assert graph.stage(stage.name) is stage


def test_no_stage_of_that_name() -> None:
    with pytest.raises(KeyError, match="raw_images"):
        graph.stage("raw_images")


def test_importing_the_stages_loads_no_model_library() -> None:
    code = """
import sys
import synthvlm_core.graph
heavy = {"torch", "diffusers", "transformers", "open_clip", "numba", "ray", "dagster", "synthvlm_miniature"}
print(*sorted(heavy & set(sys.modules)))
"""
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": root}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
