"""Benchmark questions: own questions about own pictures, from files.

    - {benchmark: questions, file: benchmark/questions.jsonl}

`file` holds JSON lines in UTF-8, one question a line:

    {"id": "test-00000", "picture": "test-00000.png", "kind": "shape", "question": "what shape is the red one?",
     "choices": ["circle", "square"], "truth": ["circle", "disc"], "split": "test"}

    id          text, once in the file
    picture     path of a picture below `pictures.zip` beside the file, or without that below a folder `pictures/`
                beside it; null for a question on words alone
    kind        what is asked for; accuracies are told by kind
    question    text, as the model is asked
    choices     what could be answered; may be left out, then nothing is said about chance
    truth       accepted answers, the usual one first; may be left out, then the answer is kept and not graded
    split       a group of questions, told apart in results; "all" where it is left out

Further keys are refused. Questions of one picture belong together and should follow each other. An answer is right if
it is one of the accepted ones, letter case, articles, punctuation and blanks aside.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from PIL import Image

from synthvlm_core import bounded_json, hashing
from synthvlm_core.bounded_json import BadJson
from synthvlm_core.errors import Mendable
from synthvlm_core.evaluation.grading import is_right
from synthvlm_core.parts.benchmark import Answered, Ask, Benchmark
from synthvlm_core.parts.locations import locate
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.section import Absent, Location, Positive
from synthvlm_core.progress import Progress
from synthvlm_core.training.data.pictures import Pictures, local_file, stays_inside
from synthvlm_core.training.data.rows import DataError, together

DECODED = 500
"""Pictures that are decoded when a recipe is checked; before a question is asked, all are."""
MAX_LINE_BYTES = 1_000_000
"""Of one question."""
_KEYS = ("id", "picture", "kind", "question", "choices", "truth", "split")


@dataclass(frozen=True)
class Question:
    """One line of the file."""

    place: str
    """File and line, for messages."""
    id: str
    picture: str | None
    kind: str
    split: str
    text: str
    choices: tuple[str, ...]
    truth: tuple[str, ...]


class Questions(Benchmark):
    """Questions from a file."""

    version: ClassVar[int] = 1

    benchmark: Literal["questions"]
    file: Annotated[str, Location("file")]
    limit: Annotated[Positive | None, Absent(None)] = None
    """Only the first so many of each split are asked."""

    def problem(self, context: Context) -> str | None:
        try:
            pictures, asked = self._pictures(context), self.questions(context)
        except Mendable as error:
            return str(error).removeprefix(f"{self.title}.")
        return _bad_pictures(self._local(context), asked, pictures, DECODED)

    def content(self, context: Context) -> str:
        """Hash of what is asked: questions, answers, bytes of pictures, in whatever form they lie beside the file."""
        pictures = self._pictures(context)
        seen: dict[str, str] = {}
        rows = []
        for asked in self.questions(context):
            if asked.picture is not None and asked.picture not in seen:
                seen[asked.picture] = hashlib.sha256(pictures.read(asked.picture, asked.place)).hexdigest()
            rows.append([asked.id, asked.picture, asked.kind, asked.split, asked.text, asked.choices, asked.truth])
        return hashing.of_json([rows, seen])

    def answers(self, checkpoint: Path, ask: Ask, context: Context, progress: Progress) -> list[Answered]:
        asked, pictures = self.questions(context), self._pictures(context)
        if (wrong := _bad_pictures(self._local(context), asked, pictures, len(asked))) is not None:
            raise DataError(wrong)
        said = ask(_Decoded(asked, pictures), [question.text for question in asked], progress)
        return [
            Answered(
                id=question.id,
                picture=question.picture,
                kind=question.kind,
                split=question.split,
                question=question.text,
                answer=answer,
                truth=question.truth,
                choices=question.choices,
                right=float(is_right(answer, question.truth)) if question.truth else None,
            )
            for question, answer in zip(asked, said, strict=True)
        ]

    def picture(self, name: str, context: Context) -> bytes:
        return self._pictures(context).read(name, self.file)

    def questions(self, context: Context) -> list[Question]:
        """The questions in the order of the file, the first `limit` of each split.

        Raises:
            DataError: naming file, line, what is wrong and what to do.
            Mendable: if there is no such file.
        """
        file = self._local(context)
        found = _read(file)
        if not found:
            raise DataError(f"{file}: no question; give one a line, or take the benchmark out of the recipe")
        if self.limit is None:
            return found
        taken: Counter[str] = Counter()
        kept = []
        for question in found:
            taken[question.split] += 1
            if taken[question.split] <= self.limit:
                kept.append(question)
        return kept

    def _local(self, context: Context) -> Path:
        return local_file(locate(self.file, context.folder), f"{self.title}.file", "JSON lines of questions")

    def _pictures(self, context: Context) -> Pictures:
        beside = self._local(context).parent
        return Pictures(beside / "pictures.zip", beside / "pictures")


def _bad_pictures(file: Path, questions: Sequence[Question], pictures: Pictures, decoded: int) -> str | None:
    """What is wrong with the pictures of questions, all at once; None if nothing is.

    Args:
        decoded: how many of them are decoded, the first ones; of the others it is seen to that they are there.
    """
    first = {question.picture: question for question in reversed(questions) if question.picture is not None}
    wrong: dict[str, str] = {}
    for number, (picture, question) in enumerate(reversed(first.items())):
        try:
            if picture not in pictures:
                raise DataError(f"{question.place}: no picture {picture[:200]!r} in {pictures.place}; add it")
            if number < decoded:
                pictures.open(picture, question.place)
        except DataError as error:
            wrong[picture] = str(error)
    return together(file, list(wrong.values()), "pictures")


class _Decoded(Sequence[Image.Image | None]):
    """The pictures of questions, decoded when they are looked at; of several questions in a row only once."""

    def __init__(self, questions: Sequence[Question], pictures: Pictures) -> None:
        self._questions, self._pictures = questions, pictures
        self._last: tuple[str, Image.Image] | None = None

    def __len__(self) -> int:
        return len(self._questions)

    def __getitem__(self, number: Any) -> Any:
        question = self._questions[number]
        if question.picture is None:
            return None
        if self._last is None or self._last[0] != question.picture:
            self._last = question.picture, self._pictures.open(question.picture, question.place)
        return self._last[1]


def _read(file: Path) -> list[Question]:
    """The questions of a file. Raises DataError with all lines that are not as described above."""
    seen: dict[str, str] = {}
    found, wrong = [], []
    number = 0
    with file.open("rb") as opened:
        try:
            for number, line in bounded_json.lines(opened, MAX_LINE_BYTES):
                place = f"{file}:{number}"
                if not line.strip():
                    continue
                try:
                    question = _checked(_loads(line, place), place)
                    if question.id in seen:
                        first = seen[question.id]
                        raise DataError(f"{place}: id {question.id[:80]!r} stands at {first} already; rename one")
                except DataError as error:
                    wrong.append(str(error))
                else:
                    seen[question.id] = place
                    found.append(question)
        except BadJson as error:  # a line too long, behind which nothing is read
            wrong.append(f"{file}:{number + 1}: {error}; give one object a line, in UTF-8")
    if (told := together(file, wrong, "lines")) is not None:
        raise DataError(told)
    return found


def _loads(line: bytes, place: str) -> Any:
    try:
        return bounded_json.loads(line)
    except BadJson as error:
        raise DataError(f"{place}: {error}; give one object a line, in UTF-8") from error


def _checked(row: Any, place: str) -> Question:
    if not isinstance(row, dict):
        raise DataError(f"{place}: a question is an object with the keys {', '.join(_KEYS)}")
    if unknown := sorted(set(row) - set(_KEYS)):
        raise DataError(f"{place}: unknown key {unknown[0][:80]!r}; a question has {', '.join(_KEYS)}")
    if "picture" not in row:
        raise DataError(f"{place}: no key 'picture'; give a path, or null for a question on words alone")
    picture = row["picture"]
    if picture is not None and not stays_inside(picture):
        raise DataError(f"{place}: picture {str(picture)[:200]!r} is no relative path; name a file below pictures/")
    choices, truth = _texts(row, "choices", place), _texts(row, "truth", place)
    if choices and truth and not any(is_right(choice, truth) for choice in choices):
        raise DataError(f"{place}: none of the choices is true; add {truth[0][:80]!r} to 'choices' or correct 'truth'")
    return Question(
        place=place,
        id=_text(row, "id", place),
        picture=picture,
        kind=_text(row, "kind", place),
        split=_text({"split": "all", **row}, "split", place),
        text=_text(row, "question", place),
        choices=choices,
        truth=truth,
    )


def _text(row: dict[str, Any], key: str, place: str) -> str:
    found = row.get(key)
    if not bounded_json.is_text(found) or not found.strip():
        raise DataError(f"{place}: {key!r} must be a text that is not empty")
    return found


def _texts(row: dict[str, Any], key: str, place: str) -> tuple[str, ...]:
    found = row.get(key, [])
    if not isinstance(found, list) or not all(bounded_json.is_text(text) and text.strip() for text in found):
        raise DataError(f"{place}: {key!r} must be a list of texts that are not empty, or be left out")
    return tuple(found)
