from pathlib import Path

import pytest

from synthvlm_core.errors import Mendable
from synthvlm_core.evaluation.benchmarks.lmms_eval import LmmsEval
from synthvlm_core.progress import silent
from synthvlm_core.recipe import loading
from synthvlm_core.stages import context

PAPER = loading.load("paper")


@pytest.mark.parametrize("benchmark", PAPER.evaluation.benchmarks, ids=lambda found: found.title)
def test_the_papers_benchmarks_run_outside_and_say_how(benchmark: LmmsEval) -> None:
    command = (
        f"python -m lmms_eval --model llava_hf --model_args pretrained=CHECKPOINT_FOLDER --tasks {benchmark.task} "
    )
    assert command in str(benchmark.unavailable(context(PAPER)))
    with pytest.raises(Mendable, match=rf"{benchmark.title}: task '{benchmark.task}' needs data and an environment"):
        benchmark.answers(Path("/"), lambda pictures, questions, progress: [], context(PAPER), silent)
