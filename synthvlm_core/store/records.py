"""The tables of the store: one record type each, the single truth for Parquet schema, UI column schema and docs.

Belongs here: names, types, keys and meanings of stored columns. Does not belong here: how rows are computed or
where they lie.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from synthvlm_core.errors import Mendable

Step = Callable[[pa.Table], pa.Table]


class NewerTable(Mendable):
    """A shard that a later version of this software wrote; the message names it."""


@dataclass(frozen=True)
class Column:
    """One stored column."""

    name: str
    type: pa.DataType
    description: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """One kind of stored table; `key` is the column that names a row, None where rows are named by file and row.

    A column that may be null can be added without more; whatever else changes raises `version` and adds a step.
    """

    name: str
    version: int
    key: str | None
    columns: tuple[Column, ...]
    steps: Mapping[int, Step] = field(default_factory=dict, compare=False)
    """By version: what turns its rows into those of the next version."""

    @property
    def names(self) -> list[str]:
        """The columns' names in their order."""
        return [column.name for column in self.columns]

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema; the metadata says which table and version a Parquet file holds."""
        return pa.schema(
            [pa.field(c.name, c.type, nullable=c.nullable) for c in self.columns],
            metadata={"synthvlm.table": self.name, "synthvlm.version": str(self.version)},
        )

    def description(self, column: str) -> str:
        """What a column means. Raises StopIteration if there is none of that name."""
        return next(c.description for c in self.columns if c.name == column)

    def is_current(self, schema: pa.Schema) -> bool:
        """Whether a Parquet file's schema says that it holds this table in today's version."""
        return _labels(schema) == (self.name, str(self.version))

    def upgrade(self, rows: pa.Table, place: str, *, only: Collection[str] | None = None) -> pa.Table:
        """Rows of this or an older version of the table in today's columns.

        Args:
            place: where they were read, for messages.
            only: the columns that were read, None for all.

        Raises:
            NewerTable: if they are of a later version.
            ArrowInvalid: if they are not of this table.
        """
        name, version = _labels(rows.schema)
        if name != self.name or not version.isdecimal():
            raise pa.ArrowInvalid(f"it says that it is a table {name!r}")
        if int(version) > self.version:
            raise NewerTable(
                f"{place} is {name} of version {version}, and this software knows versions up to {self.version}: "
                "update synthvlm"
            )
        for step in range(int(version), self.version):
            if step not in self.steps:
                raise pa.ArrowInvalid(f"it is of version {version}, from which no step leads to {self.version}")
            rows = self.steps[step](rows)
        fields = [self.schema.field(name) for name in self.names if only is None or name in only]
        for wanted in fields:
            if wanted.name not in rows.column_names and wanted.nullable:
                rows = rows.append_column(wanted, pa.nulls(rows.num_rows, wanted.type))
        return rows.select([wanted.name for wanted in fields]).cast(pa.schema(fields, self.schema.metadata))


def _labels(schema: pa.Schema) -> tuple[str, str]:
    """Name and version of the table that a Parquet file says it holds."""
    labels = schema.metadata or {}
    name, version = labels.get(b"synthvlm.table", b""), labels.get(b"synthvlm.version", b"")
    return name.decode(errors="replace"), version.decode(errors="replace")


_CAPTION_ID = Column("caption_id", pa.string(), "128-bit hash of (source, raw text), 32 hex characters")
_SOURCE = Column("source", pa.string(), "name of the source, the partition")
_TEXT = Column("text", pa.string(), "the caption exactly as it stood in the file")
_ORIGIN = Column("origin", pa.string(), "who wrote the caption: human or model")
_FILE = Column("file", pa.string(), "input file as the recipe names it, globs resolved")
_ROW = Column("row", pa.int64(), "row of that file, counted from 0 (line, Parquet row, list index or tar sample)")

RAW_CAPTIONS = Table(
    "raw_captions",
    1,
    None,
    (
        _CAPTION_ID,
        _SOURCE,
        _TEXT,
        _ORIGIN,
        Column("image_url", pa.string(), "address of the original image", nullable=True),
        Column("image_uid", pa.string(), "the publisher's id of the original image", nullable=True),
        Column("published_similarity", pa.float64(), "CLIP cosine that the publisher states", nullable=True),
        _FILE,
        _ROW,
    ),
)

QUARANTINE = Table(
    "quarantine",
    1,
    None,
    (
        _SOURCE,
        _FILE,
        _ROW,
        Column("reason", pa.string(), "why the row could not become a caption"),
        Column("content", pa.binary(), "the row's bytes as read, at most the first 4,096"),
    ),
)

TEXT_STATISTICS = Table(
    "text_statistics",
    1,
    "caption_id",
    (
        _CAPTION_ID,
        Column("alnum_ratio", pa.float64(), "share of alphanumeric characters"),
        Column("char_rep_ratio", pa.float64(), "share of the most frequent character n-grams"),
        Column("flagged_words_ratio", pa.float64(), "share of words on the flagged list"),
        Column("special_char_ratio", pa.float64(), "share of punctuation, digits, whitespace, symbols and emoji"),
        Column("word_rep_ratio", pa.float64(), "share of word n-grams that occur more than once"),
    ),
)

PERPLEXITY = Table(
    "perplexity",
    1,
    "caption_id",
    (_CAPTION_ID, Column("perplexity", pa.float64(), "perplexity of the caption under the recipe's language model")),
)

WORD_COUNT = Table(
    "word_count", 1, "caption_id", (_CAPTION_ID, Column("word_count", pa.float64(), "words that white space parts"))
)

LEXICAL_DIVERSITY = Table(
    "lexical_diversity",
    1,
    "caption_id",
    (_CAPTION_ID, Column("lexical_diversity", pa.float64(), "different words by words, in lower case")),
)

PERSONAL_DATA = Table(
    "personal_data",
    1,
    "caption_id",
    (_CAPTION_ID, Column("personal_data", pa.float64(), "e-mail addresses, phone and card numbers, IP addresses")),
)

BLOCKLIST = Table(
    "blocklist",
    1,
    "caption_id",
    (_CAPTION_ID, Column("blocked_words", pa.float64(), "words and phrases of the recipe's list")),
)

DECONTAMINATION = Table(
    "decontamination",
    1,
    "caption_id",
    (_CAPTION_ID, Column("shared_ngrams", pa.float64(), "runs of words that the caption shares with benchmarks")),
)

LANGUAGE = Table(
    "language",
    1,
    "caption_id",
    (_CAPTION_ID, Column("language_ratio", pa.float64(), "probability of the wanted languages by the likeliest one's")),
)

KENLM_PERPLEXITY = Table(
    "kenlm_perplexity",
    1,
    "caption_id",
    (
        _CAPTION_ID,
        Column("kenlm_perplexity", pa.float64(), "perplexity of the caption's pieces under the recipe's KenLM model"),
    ),
)

JUDGE = Table(
    "judge",
    1,
    "caption_id",
    (_CAPTION_ID, Column("judge_yes", pa.float64(), "probability of Yes against No, asked whether it can be drawn")),
)

SERVED_JUDGE = Table(
    "served_judge",
    1,
    "caption_id",
    (
        _CAPTION_ID,
        Column("served_judge_yes", pa.float64(), "p(yes) of a served model; NaN: it said neither Yes nor No"),
    ),
)

_ORIGINAL_ID = Column("original_id", pa.string(), "hash of where the original image is: its address, else its uid")

_IMAGE = Column(
    "image",
    pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]),
    "encoded picture in the Hugging Face Image layout",
    nullable=True,
)

ORIGINAL_IMAGES = Table(
    "original_images",
    1,
    "caption_id",
    (
        _CAPTION_ID,
        _ORIGINAL_ID,
        _TEXT,
        Column("image_url", pa.string(), "address of the original image", nullable=True),
        Column("image_uid", pa.string(), "the publisher's id of the original image", nullable=True),
        Column("outcome", pa.string(), "ok, or why there is no picture"),
        Column("asked", pa.string(), "what was asked for it, as it was then; empty: the web"),
        _IMAGE,
    ),
)

IMAGE_TEXT_MATCHING = Table(
    "image_text_matching",
    1,
    "caption_id",
    (_CAPTION_ID, _ORIGINAL_ID, Column("itm_score", pa.float64(), "how likely caption and original image match")),
)

IMAGE_TEXT_SIMILARITY = Table(
    "image_text_similarity",
    1,
    "caption_id",
    (_CAPTION_ID, _ORIGINAL_ID, Column("image_similarity", pa.float64(), "cosine of caption and original image")),
)

FILTERED_CAPTIONS = Table(
    "filtered_captions",
    1,
    "caption_id",
    (
        _CAPTION_ID,
        _SOURCE,
        _TEXT,
        _ORIGIN,
        Column("duplicates", pa.int64(), "how many input rows merged into this one, itself included"),
        Column("raw_caption_id", pa.string(), "the raw caption's id, if a mapper changed its words", nullable=True),
        Column(
            "original_image", pa.string(), "ok, or why there is no original; null: none was asked for", nullable=True
        ),
        Column(_ORIGINAL_ID.name, pa.string(), _ORIGINAL_ID.description, nullable=True),
    ),
)

REJECTED = Table(
    "rejected",
    1,
    "caption_id",
    (
        *FILTERED_CAPTIONS.columns,
        Column("rule", pa.string(), "the first rule of the recipe's order that the caption broke"),
        Column("value", pa.float64(), "the caption's value under that rule"),
        Column("threshold", pa.float64(), "the bound it lies beyond"),
        Column(
            "kept_instead", pa.string(), "id of the caption that is kept, of which it is a duplicate", nullable=True
        ),
    ),
)

_IMAGE_ID = Column("image_id", pa.string(), "128-bit hash of (caption id, k, attempt, definition)")

SYNTHETIC_IMAGES = Table(
    "synthetic_images",
    1,
    "image_id",
    (
        _IMAGE_ID,
        _CAPTION_ID,
        _SOURCE,
        _TEXT,
        Column("k", pa.int32(), "which of the caption's images, from 0"),
        Column("attempt", pa.int32(), "0, or how often an unhealthy image was drawn before"),
        Column("seed", pa.int64(), "seed of the initial latents: hash of (recipe seed, caption id, k, attempt)"),
        _IMAGE,
        Column("width", pa.int32(), "pixels"),
        Column("height", pa.int32(), "pixels"),
        Column(
            "prompt_tokens",
            pa.int32(),
            "tokens of the caption, start and end not counted; null: not told",
            nullable=True,
        ),
        Column("prompt_truncated", pa.bool_(), "whether the text encoders saw less than the whole caption"),
        Column("health", pa.string(), "ok, nan, flat, or refused by a service, which leaves no picture"),
    ),
)

_DEFINITION = Column("definition", pa.string(), "what drew the image, apart from caption, k and attempt")

SCORES = Table(
    "scores",
    2,
    "image_id",
    (
        _IMAGE_ID,
        Column("picture_hash", pa.string(), "SHA-256 of the encoded picture that was scored, 64 hex characters"),
        _CAPTION_ID,
        _SOURCE,
        Column("value", pa.float64(), "the score"),
    ),
)


def scored_pairs(scores: Sequence[Column]) -> Table:
    """The table of the images that count with all their scores, one column each."""
    k = next(column for column in SYNTHETIC_IMAGES.columns if column.name == "k")
    columns = (_IMAGE_ID, SCORES.columns[1], _CAPTION_ID, _SOURCE, k, *scores)
    return Table("scored_pairs", 1, "image_id", columns)


def ranked(scores: Sequence[Column]) -> Table:
    """The table of what a selection takes: the set without its pictures."""
    columns = (
        Column("rank", pa.int64(), "place in the selection, from 1"),
        _IMAGE_ID,
        _CAPTION_ID,
        _SOURCE,
        _TEXT,
        *scores,
        Column("weighted_score", pa.float64(), "sum of the scores, each times the selection's weight for it"),
    )
    return Table("ranked", 1, "image_id", columns)


def synthvlm_100k(scores: Sequence[Column]) -> Table:
    """The table of a released set, one column per score."""
    replay = [
        Column(c.name, c.type, c.description, nullable=True)  # sets released before they were kept have none
        for c in (*SYNTHETIC_IMAGES.columns, _DEFINITION)
        if c.name in ("k", "attempt", "seed", "definition")
    ]
    columns = (
        *ranked(scores).columns,
        Column(_IMAGE.name, _IMAGE.type, _IMAGE.description),
        *replay,
    )
    return Table("synthvlm_100k", 1, "image_id", columns)
