"""Benchmark lmms_eval: a task of the harness lmms-eval (github.com/EvolvingLMMs-Lab/lmms-eval).

    - {benchmark: lmms_eval, name: mm-vet, task: mmvet}

The paper's ten benchmarks are such tasks. They need their own data, servers and judges, and the harness cannot share
this environment: this version does not run it, says so when a recipe is checked, and gives the command that does. It
gives no number of its own.

MMLU is answered in words there (`mmlu_flan_n_shot_generative`): lm-eval has no likelihoods of multimodal models.
"""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from synthvlm_core.errors import Mendable
from synthvlm_core.parts.benchmark import Answered, Ask, Benchmark
from synthvlm_core.parts.part import Context
from synthvlm_core.progress import Progress


class RunsOutside(Mendable):
    """A benchmark that this version does not run; the message holds the command that does."""


class LmmsEval(Benchmark):
    """A task of lmms-eval."""

    version: ClassVar[int] = 1

    benchmark: Literal["lmms_eval"]
    task: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]
    """What lmms-eval calls it."""

    def command(self, checkpoint: str = "CHECKPOINT_FOLDER") -> str:
        """The command that runs it on a checkpoint's folder, in an environment of its own."""
        return (
            f"python -m lmms_eval --model llava_hf --model_args pretrained={checkpoint} "
            f"--tasks {self.task} --batch_size 1 --output_path results"
        )

    def unavailable(self, context: Context) -> str | None:
        return f"needs data and an environment of its own, which this version does not start. There: {self.command()}"

    def answers(self, checkpoint: Path, ask: Ask, context: Context, progress: Progress) -> list[Answered]:
        raise RunsOutside(f"{self.title}: task {self.task!r} {self.unavailable(context)}")
