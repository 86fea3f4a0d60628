"""Pictures and texts for a person to look at: histograms with thresholds, captions as a line.

Belongs here: turning stored numbers into PNG bytes and hostile text into a harmless line. Does not belong here:
computing the numbers (the stages) or where a picture is shown (synthvlm_assets).
"""

import io
import unicodedata
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

KEPT, REJECTED, ELSEWHERE, THRESHOLD = "#2a78b5", "#e0803a", "#b8bcc2", "#222222"


def histograms(found: dict[str, Any], rules: list[dict[str, Any]], title: str) -> bytes:
    """One panel per rule: captions by the rule's statistic, kept, rejected, or passing it and rejected by another; its
    bounds drawn in.

    Args:
        found: {statistic: {"edges", "kept", "rejected", "elsewhere"}} as a decision's manifest has it.
        rules: {"name", "statistic", "minimum", "maximum"} of each rule.

    Returns:
        A PNG of some tens of kilobytes.
    """
    # a rule that compares captions has no values of its own
    shown = [rule for rule in rules if found.get(rule["statistic"], {}).get("edges")]
    columns = min(3, max(1, len(shown)))
    lines = max(1, -(-len(shown) // columns))
    with matplotlib.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(3.3 * columns, 2.2 * lines + 0.4), layout="constrained")
        figure.suptitle(title)
        panels = figure.subplots(lines, columns, squeeze=False).flat
        for axes, rule in zip(panels, shown, strict=False):
            _panel(axes, found[rule["statistic"]], rule)
        for axes in list(figure.axes)[len(shown) :]:
            axes.set_axis_off()
        return png(figure)


def _panel(axes: Any, histogram: dict[str, Any], rule: dict[str, Any]) -> None:
    edges, kept, rejected = histogram["edges"], histogram["kept"], histogram["rejected"]
    elsewhere = histogram.get("elsewhere", [0] * len(kept))  # decisions of earlier versions did not count them
    here = [both - other for both, other in zip(rejected, elsewhere, strict=True)]
    _bars(axes, edges, kept, [0] * len(kept), KEPT, "kept")
    _bars(axes, edges, here, kept, REJECTED, "rejected")
    _bars(axes, edges, elsewhere, [k + h for k, h in zip(kept, here, strict=True)], ELSEWHERE, "by another rule")
    if edges[0] > 0 and edges[-1] > 1000 * edges[0]:  # bins of such a range are equal on this scale
        axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(bottom=0)
    axes.set_title(rule["name"].replace("_", " "), fontsize=9)
    axes.set_xlabel(rule["statistic"].replace("_", " "))
    _thresholds(axes, [bound for bound in (rule["minimum"], rule["maximum"]) if bound is not None])
    axes.legend(frameon=False, fontsize=7, loc="best")


def _bars(
    axes: Any, edges: Sequence[float], counts: Sequence[int], below: Sequence[int], color: str, label: str
) -> None:
    """A bar a bin that is not empty, outlined: where a threshold lies far away, its bin is narrower than a pixel."""
    bins = [number for number, count in enumerate(counts) if count]
    if not bins:  # it would stand in the legend in another colour
        return
    axes.bar(
        [edges[number] for number in bins],
        [counts[number] for number in bins],
        [edges[number + 1] - edges[number] for number in bins],
        bottom=[below[number] for number in bins],
        align="edge",
        color=color,
        edgecolor=color,
        linewidth=0.8,
        label=label,
    )


def _thresholds(axes: Any, bounds: Sequence[float]) -> None:
    """A dashed line at each, with its value on the side where there is more room."""
    for bound in bounds:
        axes.axvline(bound, color=THRESHOLD, linewidth=1, linestyle="--")
    for bound in bounds:
        right = axes.transAxes.inverted().transform(axes.transData.transform((bound, 0)))[0] > 0.5
        axes.annotate(
            f"{bound:.4g}",
            (bound, 1.0),
            xytext=(-3 if right else 3, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right" if right else "left",
            va="top",
            fontsize=7,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )


def one_line(text: str, limit: int = 160) -> str:
    """Hostile text as one line without invisible or reordering characters. Markup stays: show it where none is read.

    Args:
        limit: longest result, in characters; what is cut is marked with an ellipsis.
    """
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    # controls, format characters (bidi overrides, zero-width) and separators become a visible mark
    return "".join("␣" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else c for c in shown)


def score_histograms(found: dict[str, Any], bounds: dict[str, list[float]], title: str) -> bytes:
    """One panel per score: counts over its range, the recipe's bounds drawn in. A PNG.

    Args:
        found: {score: {"histogram": {"edges", "counts"}}}.
        bounds: values to mark, per score.
    """
    shown = {score: numbers["histogram"] for score, numbers in found.items() if numbers["histogram"]["edges"]}
    with matplotlib.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(3.3 * max(1, len(shown)), 2.4), layout="constrained")
        figure.suptitle(title)
        panels = figure.subplots(1, max(1, len(shown)), squeeze=False).flat
        for axes, (score, histogram) in zip(panels, shown.items(), strict=False):
            edges = histogram["edges"]
            _bars(axes, edges, histogram["counts"], [0] * len(histogram["counts"]), KEPT, "pairs")
            _thresholds(axes, bounds.get(score, []))
            axes.set_title(score.replace("_", " "), fontsize=9)
        return png(figure)


def loss_curve(losses: list[float], title: str) -> bytes:
    """Training loss per optimizer step, pale, and its running mean. A PNG."""
    with matplotlib.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(6.0, 2.6), layout="constrained")
        axes = figure.subplots()
        axes.plot(range(1, len(losses) + 1), losses, color=KEPT, alpha=0.35, linewidth=1)
        window = max(1, len(losses) // 20)
        starts = [max(0, step - window) for step in range(1, len(losses) + 1)]
        means = [sum(losses[start:end]) / (end - start) for end, start in enumerate(starts, 1)]
        axes.plot(range(1, len(losses) + 1), means, color=KEPT, linewidth=1.6)
        axes.set(title=title, xlabel="optimizer step", ylabel="loss")
        return png(figure)


def png(figure: Figure) -> bytes:
    """A figure as a PNG."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    return picture.getvalue()
