"""What a benchmark must offer: its section, and answers of a checkpoint with what they are worth.

Belongs here: the base of benchmarks and graded answers. Does not belong here: the benchmarks (evaluation/benchmarks/),
what follows from answers (evaluation/accuracy.py).
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from PIL import Image

from synthvlm_core.parts import section
from synthvlm_core.parts.part import Context, Part
from synthvlm_core.parts.section import Absent, Location, Name
from synthvlm_core.progress import Progress

Ask = Callable[[Sequence[Image.Image | None], Sequence[str], Progress], list[str]]
"""(RGB pictures, or None for a question on words alone; as many questions; progress) to greedy answers as generated.

Pictures are looked at once and in order, a batch at a time, so that they may be decoded as they are wanted.
"""


@dataclass(frozen=True)
class Answered:
    """One question with a checkpoint's answer and what it is worth."""

    id: str
    picture: str | None
    """Questions of one picture stand and fall together: they are resampled together. None: on words alone."""
    kind: str
    split: str
    question: str
    answer: str
    truth: tuple[str, ...]
    """Accepted answers; empty where the benchmark does not tell."""
    choices: tuple[str, ...]
    """What could be answered; empty where it is open."""
    right: float | None
    """1 or 0, or a share where a benchmark gives parts of a point; None where nobody knows."""


class Benchmark(Part):
    """Questions that a checkpoint is asked."""

    tag: ClassVar[str] = "benchmark"
    version: ClassVar[int]
    """Raised when the same section and checkpoint give other numbers."""

    name: Annotated[Name | None, Absent(None)] = None
    """What it is called in tables, by default its kind."""

    @property
    def title(self) -> str:
        """What it is called in tables."""
        return self.name or self.kind_name

    def definition(self, context: Context, max_new_tokens: int) -> str:
        """Hash of all that the answers of a given checkpoint depend on. Files count by content, not by their names.

        Raises:
            Mendable: if a file cannot be read.
        """
        located = [
            name
            for name, field in type(self).model_fields.items()
            if any(isinstance(marker, Location) for marker in field.metadata)
        ]
        values = {
            "section": section.named(self, leave_out=("name", *located)),
            "content": self.content(context),
            "max_new_tokens": max_new_tokens,
        }
        return section.definition(self.kind_name, self.version, values)

    @abstractmethod
    def answers(self, checkpoint: Path, ask: Ask, context: Context, progress: Progress) -> list[Answered]:
        """Ask all questions.

        Args:
            checkpoint: a folder for `from_pretrained`, for a harness that loads it itself.
            ask: asks the loaded checkpoint.

        Raises:
            Mendable: if a question or a picture cannot be used; the message says where it stands.
        """

    def picture(self, name: str, context: Context) -> bytes | None:
        """The encoded picture of `Answered.picture`, for people to look at; None where a harness keeps it."""
        return None
