"""What must hold for an evaluation, found out from the stored result alone.

Belongs here: properties of evaluation as Findings. Does not belong here: what happens when one fails (synthvlm_assets).
"""

from synthvlm_core.evaluation.accuracy import OVERALL
from synthvlm_core.evaluation.evaluated import Evaluation
from synthvlm_core.findings import Finding


def evaluation_beats_chance(stage: Evaluation) -> Finding:
    """Of every benchmark, the lower bound of the overall accuracy lies above chance and above blind guessing.

    Blind guessing knows how often each answer occurs (`majority`), which is the harder of the two. A benchmark whose
    questions say neither is told and not judged; if there are only such, nothing is shown and the check does not pass.
    """
    lines: list[str] = []
    numbers: dict[str, float] = {}
    judged = passed = 0
    for name, found in stage.manifest["benchmarks"].items():
        overall = found[OVERALL]
        bounds = {part: overall[part] for part in ("chance", "majority") if overall[part] is not None}
        if overall["accuracy"] is None or not bounds:
            lines.append(f"{name}: {overall['asked']} answers and nothing to hold them against")
            continue
        judged += 1
        passed += overall["low"] > max(bounds.values())
        told = ", ".join(f"{'blind' if part == 'majority' else part} {bound:.3f}" for part, bound in bounds.items())
        lines.append(
            f"{name}: {overall['accuracy']:.3f} [{overall['low']:.3f}, {overall['high']:.3f}] of {overall['n']}, {told}"
        )
        numbers |= {f"{name}_{part}": overall[part] for part in ("accuracy", "low", *bounds)}
    return Finding(judged > 0 and passed == judged, "; ".join(lines) or "nothing was asked", numbers)
