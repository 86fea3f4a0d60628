"""Stage synthvlm_100k: a set of selected pairs as a sealed, published product.

Belongs here: what a release consists of, its content hash, the order in which its files appear, reading its rows. Does
not belong here: which pairs are selected (selection/), what single files look like (formats/, card.py,
recipe_file.py).

    releases/<name>/<content hash>/data/*.parquet           the set's table: Hugging Face Parquet, ranks in order
    releases/<name>/<content hash>/llava/, webdataset/, …   further formats, made from the table
    releases/<name>/<content hash>/README.md, recipe.json   the card, the resolved recipe
    releases/<name>/<content hash>/manifest.json            names every file with its hash
    releases/<name>/<content hash>/verdict/*.json           what its checks found (verdict.py)
    releases/<name>/candidate.json                          names the set that was made last, checked or not
    releases/<name>/latest.json                             names the last one that passed every check

`<name>` is the recipe's release name for the first set of `selection.sets`, `<release name>-<set>` for the others. The
content hash is over the released rows, pictures and human turns included: the same pairs under the same instructions
are the same release, whatever its formats. Rows and pictures of a release never change; a format that is asked for
later is added to its folder, one that no longer is stays. Card, recipe and manifest are those of the last run.

The stage is the candidate: what was made last. `latest` is for whoever uses sets, and follows the verdict.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NotRequired, cast

import pyarrow as pa
from typing_extensions import TypedDict

from synthvlm_core import hashing
from synthvlm_core.errors import Mendable
from synthvlm_core.images import encoding
from synthvlm_core.parts.format import Format, SetContext
from synthvlm_core.parts.part import kinds
from synthvlm_core.parts.section import named
from synthvlm_core.progress import Progress, silent
from synthvlm_core.recipe.sections import Recipe, ReleasedSet
from synthvlm_core.release import card, gathering, recipe_file
from synthvlm_core.release.formats import huggingface
from synthvlm_core.release.formats.huggingface import HuggingFace
from synthvlm_core.release.spool import spool
from synthvlm_core.scoring.scored import ScoredPairs, score_columns
from synthvlm_core.selection import selection
from synthvlm_core.stages import Stage
from synthvlm_core.store import records, sql
from synthvlm_core.store.documents import Count, Files, Hash, Json, Named, document
from synthvlm_core.store.objects import DamagedDocument, DamagedObject, Store
from synthvlm_core.store.products import DamagedProduct, Product
from synthvlm_core.store.records import Table
from synthvlm_core.store.shards import MANIFEST

log = logging.getLogger(__name__)

VERSION = 3
CANDIDATE, LATEST = "candidate.json", "latest.json"
REMEDY = "materialize synthvlm_100k again"
FORMATS = "synthvlm_core.release.formats"


@document
class OfSource(TypedDict):
    """What a report says of a source."""

    passed: bool
    verdict: str
    pairs: Count
    available: Count
    selected: Count
    means: dict[str, float | None]


@document
class Report(TypedDict):
    """What was selected: see `selection.report.of`."""

    pairs: Count
    threshold_score: float | None
    means: dict[str, float | None]
    sources: dict[str, OfSource]


@document
class FormatEntry(TypedDict):
    """What wrote the files of a format."""

    version: int
    section: Json


@document
class Manifest(Files):
    """A released set."""

    name: str
    set: str
    content_hash: Hash
    rows: Count
    picture_bytes: Count
    report: Report
    formats: dict[str, FormatEntry]


@document
class Pointer(TypedDict):
    """Names one release of a set."""

    content_hash: Hash
    recipe: NotRequired[Named]
    """Releases of a version that did not name it are not read any more."""
    set: NotRequired[Named]


class FailingSource(Mendable):
    """A source whose scores fail the recipe's thresholds: nothing is released, neither with it nor silently without."""


class AnotherRecipe(Mendable):
    """A release's name that belongs to another recipe; the message says how to take another."""


class Synthvlm100k(Stage):
    """One released set of a recipe."""

    name = "synthvlm_100k"
    over = "set"
    form = Manifest

    def __init__(self, store: Store, recipe: Recipe, partition: str) -> None:
        super().__init__(store, recipe, partition)
        self.chosen: ReleasedSet = recipe.released_set(partition)
        first = recipe.selection.sets[0].name
        whole = recipe.release.name or recipe.name
        self.release_name = whole if partition == first else f"{whole}-{partition}"

    @classmethod
    def code_version(cls, recipe: Recipe) -> str:
        """Hash of what the sets depend on apart from scored pairs."""
        return hashing.of_json([VERSION, recipe.seed, named(recipe.selection), named(recipe.release)])

    @cached_property
    def scored(self) -> list[ScoredPairs]:
        """What is selected from: all sources of the recipe."""
        return [ScoredPairs(self.store, self.recipe, source.name) for source in self.recipe.sources]

    @property
    def needs(self) -> Sequence[Stage]:
        return self.scored

    @cached_property
    def table(self) -> Table:
        """The record type of the rows."""
        return records.synthvlm_100k(score_columns(self.recipe))

    @property
    def manifest_path(self) -> str:
        """Where the manifest lies of the set that was made last. Raises NotMaterialized if there is none yet."""
        return f"{self.location}/{MANIFEST}"

    @property
    def location(self) -> str:
        """Path of the folder of the set that was made last. Raises NotMaterialized if there is none yet."""
        candidate = self._candidate
        if candidate is None:
            raise self.not_there_yet()
        return self._path(candidate)

    def find(self) -> dict[str, Any] | None:
        """The manifest of the set that was made last, None if there is none yet.

        Raises:
            AnotherRecipe: if the release's name belongs to another recipe.
        """
        candidate = self._candidate
        return None if candidate is None else self._manifest(self._product(candidate), candidate)

    @cached_property
    def product(self) -> Product:
        """The files of the set that was made last. Raises NotMaterialized if nothing was released yet."""
        product = self._product(self.manifest["content_hash"])
        product.take(self.manifest)
        return product

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The released rows by rank, a hundred at most at a time, whatever formats there are.

        A file is read whole and its bytes are proved before the first of its rows is handed over.

        Args:
            columns: of `table`, in the order wanted; None for all.

        Raises:
            NotMaterialized: if nothing was released yet.
            DamagedProduct: if a file is gone, has other bytes than the manifest says, or is no such table.
        """
        return self._rows_of(self.product, columns)

    @contextmanager
    def parquet_files(self) -> Iterator[list[Path]]:
        """The set's table as local Parquet files in the order of ranks, for reading row groups in any order.

        Their bytes are proved once, here. Of a local store they are links to its files, of a bucket copies on this
        machine's disk, gone afterwards.

        Raises:
            NotMaterialized: if nothing was released yet.
            DamagedProduct: as `rows`.
        """
        with self.product.local_folder(HuggingFace.folder) as folder:
            yield [folder / name for name in self.product.names(HuggingFace.folder)]

    def make(self, progress: Progress = silent) -> dict[str, Any]:
        """Select and release, or find that this content was released and what of it is missing.

        Costs a pass over the scores. Pictures are read only if the set's table is not there yet: each image shard with
        a picture of the set once, by way of local disk (spool.py).

        Returns:
            The manifest: name, recipe, set, by, content_hash, rows, picture_bytes, report of the selection, formats,
            files; and `written`, the formats written now.

        Raises:
            FailingSource: if a source fails the recipe's thresholds.
            TooFewPairs: if fewer pairs than the recipe asks for can be taken.
            NotMaterialized: if a source is not scored yet, or a scored image is not stored any more.
            AnotherRecipe: if the release's name belongs to another recipe.
        """
        self._refuse_another_recipes()  # before anything is spent
        table = HuggingFace(format="huggingface")
        written: list[Format] = []
        with selection.ranked(self.scored, self.recipe, self.partition) as ranked, sql.scratch() as scratch:
            _refuse_failing(ranked.report)
            rows = gathering.gather(scratch, ranked, self.scored, self.table)
            count = rows.count
            content = rows.content_hash(self.recipe.release.instructions, self.recipe.seed)
            product = self._product(content)
            before = self._before(product, content)
            if _is_whole(product, before, table):
                context = self.set_context(before)
            else:
                with spool(count) as pictures:
                    rows.fetch(pictures, progress)
                    context = self.set_context({"rows": count, "picture_bytes": pictures.size})
                    _write(product, [table], rows.batches(pictures), context, progress)
                written.append(table)
        asked = [form for form in self.recipe.release.formats if form.kind_name != table.kind_name]
        further = [form for form in asked if not _is_whole(product, before, form)]
        if further:  # made from the table as it was stored
            _write(product, further, self._rows_of(product), context, progress)
        formats = [table, *asked, *_staying(product, before, [table, *asked])]
        values: dict[str, Any] = {
            "name": self.release_name,
            "recipe": self.recipe.name,
            "set": self.partition,
            "by": self.chosen.by,
            "content_hash": content,
            "rows": count,
            "picture_bytes": context.picture_bytes,
            "report": ranked.report,
            "formats": {form.kind_name: _entry(form) for form in formats},
        }
        product.put("recipe.json", recipe_file.published(self.recipe))
        told = recipe_file.as_published(self.recipe)
        product.put("README.md", card.render(told, self.chosen, values, formats, product.names()).encode())
        manifest = product.seal(values)
        self._point(CANDIDATE, content)
        self.made(manifest)
        self.__dict__.pop("product", None)
        return {**manifest, "written": [form.kind_name for form in (*written, *further)]}

    def formats(self) -> list[Format]:
        """The formats that the set has, those no longer asked for among them.

        Raises:
            NotMaterialized: if nothing was released yet.
            Mendable: if a later version of this software wrote one that this one does not know.
        """
        return [_format(word, entry) for word, entry in self.manifest["formats"].items()]

    def set_context(self, manifest: dict[str, Any]) -> SetContext:
        """What formats need to know of a release."""
        return SetContext(
            table=self.table,
            rows=manifest["rows"],
            picture_bytes=manifest["picture_bytes"],
            extension=encoding.EXTENSIONS[self.recipe.generator.encoding.format],
            instructions=self.recipe.release.instructions,
            seed=self.recipe.seed,
        )

    def publish(self) -> None:
        """Let `latest` name the set that was made last. For whoever knows that it passed every check."""
        self._point(LATEST, self.manifest["content_hash"])

    @property
    def published(self) -> str | None:
        """Content hash of the last set that passed every check, None if there is none."""
        return self._content(LATEST)

    @property
    def _candidate(self) -> str | None:
        """Content hash of the set that was made last. (Stores of a version without candidates have `latest` alone.)"""
        return self._content(CANDIDATE) or self._content(LATEST)

    def _pointer(self, name: str) -> str:
        return self.store.path("releases", self.release_name, name)

    def _point(self, name: str, content: str) -> None:
        if self._named(name) != content:
            pointer = {"content_hash": content, "recipe": self.recipe.name, "set": self.partition}
            self.store.put_json(self._pointer(name), pointer)

    def _named(self, name: str) -> str | None:
        """As `_content`, for whoever points anew: a damaged pointer is named in the log, and as good as none."""
        try:
            return self._content(name)
        except DamagedObject as damage:
            log.warning("%s; it is written again now", damage)
            return None

    def _content(self, name: str) -> str | None:
        """Content hash of the release of this set that a pointer names, None if there is none.

        Raises:
            AnotherRecipe: if the release's name belongs to another recipe.
            DamagedDocument: if the pointer is none.
        """
        found = self.store.get_json(self._pointer(name), Pointer, REMEDY)
        if found is None or "recipe" not in found:
            return None
        if found["recipe"] != self.recipe.name:
            where = self.store.unstrip(self._pointer(name))
            raise AnotherRecipe(
                f"{where}: the release {self.release_name!r} belongs to recipe {found['recipe']!r}, and recipe "
                f"{self.recipe.name!r} may not move it; set release.name to a name of its own, or correct its name "
                f"(if the release is its own, {name} is damaged: delete it)"
            )
        return found["content_hash"] if found.get("set") == self.partition else None

    def _refuse_another_recipes(self) -> None:
        """Raise AnotherRecipe if a pointer of the release's name belongs to another recipe."""
        for name in (CANDIDATE, LATEST):
            self._named(name)

    def _path(self, content: str) -> str:
        return self.store.path("releases", self.release_name, content)

    def _product(self, content: str) -> Product:
        return Product(self.store, self._path(content), REMEDY)

    def _manifest(self, product: Product, content: str) -> dict[str, Any] | None:
        """The manifest of a product, which must be about the content that its folder is named after."""
        found = product.manifest(self.form)
        if found is not None and found["content_hash"] != content:
            where = self.store.unstrip(f"{product.path}/{MANIFEST}")
            raise DamagedDocument(f"{where} is about another content; delete its folder and {REMEDY}")
        return found

    def _before(self, product: Product, content: str) -> dict[str, Any]:
        """The manifest of an earlier run for the same content, empty if there is none or it is damaged."""
        try:
            return self._manifest(product, content) or {}
        except DamagedObject as damage:
            log.warning("%s; it is written again now", damage)
            return {}

    def _rows_of(self, product: Product, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        for name in product.names(HuggingFace.folder):
            place = self.store.unstrip(f"{product.path}/{name}")
            try:
                yield from huggingface.read(product.get(name), self.table, place, columns)
            except Mendable:
                raise
            except ValueError as error:
                raise DamagedProduct(f"{error}; {product.remedy}") from error


def _write(
    product: Product, formats: Sequence[Format], rows: Iterable[pa.Table], context: SetContext, progress: Progress
) -> None:
    """Write the files of some formats in one pass over the rows."""
    what = f"write {', '.join(form.folder for form in formats)}"
    before = [name for form in formats for name in product.forget(form.folder)]
    writers = [form.writer(partial(_put, product, form.folder), context) for form in formats]
    done = 0
    for part in rows:
        progress(what, done, context.rows)
        for writer in writers:
            writer.add(part)
        done += part.num_rows
    for writer in writers:
        writer.close()
    product.remove(before)
    progress(what, done, context.rows)


def _put(product: Product, folder: str, name: str, data: bytes) -> None:
    product.put(f"{folder}/{name}", data)


def _entry(form: Format) -> dict[str, Any]:
    """What a manifest says of a format."""
    return {"version": form.version, "section": named(form)}


def _format(word: str, entry: dict[str, Any]) -> Format:
    """The inverse of `_entry`."""
    cls = kinds(FORMATS).get(word)
    if cls is None:
        raise Mendable(f"the release has a format {word!r}, which this software does not know: update synthvlm")
    return cast(Format, cls.model_validate(entry["section"]))


def _is_whole(product: Product, before: dict[str, Any], form: Format) -> bool:
    """Whether an earlier run wrote a format's files as they would be written now, and they are undamaged."""
    if before.get("formats", {}).get(form.kind_name) != _entry(form) or not product.names(form.folder):
        return False
    damage = product.damage(form.folder)
    if damage:
        log.warning("%s; %s will be written again", "; ".join(damage[:5]), form.folder)
    return not damage


def _staying(product: Product, before: dict[str, Any], asked: Sequence[Format]) -> list[Format]:
    """The formats of an earlier run that are not asked for any more; a damaged one is named in the log and left out."""
    found = []
    for word, entry in before.get("formats", {}).items():
        if word in [form.kind_name for form in asked]:
            continue
        form = _format(word, entry)
        if damage := product.damage(form.folder):
            log.warning("%s; nobody asks for %s any more, and it is left out", "; ".join(damage[:5]), form.folder)
            product.remove(product.forget(form.folder))
        else:
            found.append(form)
    return found


def _refuse_failing(report: dict[str, Any]) -> None:
    failing = {name: source["verdict"] for name, source in report["sources"].items() if not source["passed"]}
    if failing:
        named_sources = "; ".join(f"{name}: {why}" for name, why in failing.items())
        raise FailingSource(
            f"sources fail the recipe's thresholds ({named_sources}); mend them and materialize them again, lower "
            "selection.source_thresholds, or take the source out of the recipe"
        )
