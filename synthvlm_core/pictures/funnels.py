"""The funnel of a source as a picture.

Belongs here: drawing it. Does not belong here: its counts (captions/funnel.py).
"""

from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from synthvlm_core.captions.funnel import Step
from synthvlm_core.pictures.histograms import KEPT, REJECTED, png


def funnel(steps: Sequence[Step], title: str) -> bytes:
    """A bar for what is left after each step, and beside it what the step took. A PNG."""
    with matplotlib.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(6.6, 0.26 * len(steps) + 0.7), layout="constrained")
        axes = figure.subplots()
        places = range(len(steps))
        axes.barh(places, [step.left for step in steps], color=KEPT, label="left")
        axes.barh(
            places, [step.gone for step in steps], left=[step.left for step in steps], color=REJECTED, label="gone"
        )
        most = max(1, *(step.left + step.gone for step in steps))
        for place, step in zip(places, steps, strict=True):
            gone = f"  (-{step.gone:,})" if step.gone else ""
            axes.annotate(
                f"{step.left:,}{gone}",
                (step.left + step.gone, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
            )
        axes.set_yticks(list(places), [step.name.replace("_", " ") for step in steps])
        axes.set_xlim(0, most * 1.22)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        axes.invert_yaxis()
        axes.set_title(title)
        return png(figure)
