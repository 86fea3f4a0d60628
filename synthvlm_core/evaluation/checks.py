"""What must hold for an evaluation, found out from the stored result alone.

Belongs here: properties of evaluation as Findings. Does not belong here: what happens when one fails (synthvlm_assets).
"""

from synthvlm_core.evaluation import accuracy
from synthvlm_core.evaluation.accuracy import OVERALL
from synthvlm_core.evaluation.evaluated import Evaluation
from synthvlm_core.findings import Finding
from synthvlm_core.parts.benchmark import Answered


def accuracies_are_of_the_answers(stage: Evaluation) -> Finding:
    """The stored result can be read and is what was stored, and its accuracies are those of the answers it holds."""
    wrong: list[str] = []
    count = 0
    for name, found in stage.manifest["benchmarks"].items():
        answers = found["answers"]
        count += len(answers)
        computed = accuracy.accuracies(
            [Answered(**{**row, "truth": tuple(row["truth"]), "choices": tuple(row["choices"])}) for row in answers]
        )
        wrong += [f"{name}: {part} is not that of the answers" for part in computed if computed[part] != found[part]]
    if wrong:
        wrong.append(f"delete {stage.store.unstrip(stage.path)} and {stage.remedy}")
    names = len(stage.manifest["benchmarks"])
    return Finding(not wrong, "; ".join(wrong) or f"{count:,} answers of {names} benchmarks", {"answers": count})


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
