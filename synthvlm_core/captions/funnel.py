"""The funnel of a source: how many rows and captions are left after each step, from a decision's manifest.

Belongs here: the steps and their counts. Does not belong here: drawing them (pictures/funnels.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Step:
    """One step: what it is, what it takes away and what is left."""

    name: str
    gone: int
    left: int


def funnel(manifest: Mapping[str, Any]) -> list[Step]:
    """Rows, the captions that are different, and what each rule left, in the order in which rules apply.

    Args:
        manifest: of filtered_captions.
    """
    steps = [Step("rows", 0, manifest["rows"]), Step("different captions", manifest["merged"], manifest["captions"])]
    for rule in manifest["rules"]:
        gone = manifest["rejected_by_rule"][rule["name"]]
        steps.append(Step(rule["name"], gone, steps[-1].left - gone))
    return steps
