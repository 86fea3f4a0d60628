"""Stage synthvlm_100k: a set of selected pairs as a sealed, published product.

Belongs here: what a release consists of, its content hash, the order in which its files appear, reading its rows. Does
not belong here: which pairs are selected (selection/), what single files look like (formats/, card.py,
recipe_file.py).

    releases/<name>/<content hash>/data/*.parquet           the set's table: Hugging Face Parquet, ranks in order
    releases/<name>/<content hash>/llava/, webdataset/, …   further formats, made from the table
    releases/<name>/<content hash>/README.md, recipe.json   the card, the resolved recipe
    releases/<name>/<content hash>/manifest.json            names every file with its hash
    releases/<name>/latest.json                             names the content hash, recipe and set; written last

`<name>` is the recipe's release name for the first set of `selection.sets`, `<release name>-<set>` for the others. The
content hash is over the released rows, pictures and human turns included: the same pairs under the same instructions
are the same release, whatever its formats. Rows and pictures of a release never change; a format that is asked for
later is added to its folder, one that no longer is stays. Card, recipe and manifest are those of the last run.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

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
from synthvlm_core.store.objects import Store
from synthvlm_core.store.products import DamagedProduct, Product
from synthvlm_core.store.records import Table
from synthvlm_core.store.shards import MANIFEST

log = logging.getLogger(__name__)

VERSION = 3
LATEST = "latest.json"
REMEDY = "materialize synthvlm_100k again"
FORMATS = "synthvlm_core.release.formats"


class FailingSource(Mendable):
    """A source whose scores fail the recipe's thresholds: nothing is released, neither with it nor silently without."""


class AnotherRecipe(Mendable):
    """A release's name that belongs to another recipe; the message says how to take another."""


class Synthvlm100k(Stage):
    """One released set of a recipe."""

    name = "synthvlm_100k"
    over = "set"

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

    @cached_property
    def table(self) -> Table:
        """The record type of the rows."""
        return records.synthvlm_100k(score_columns(self.recipe))

    @property
    def manifest_path(self) -> str:
        """Where the manifest of the latest release lies. Raises NotMaterialized if nothing was released yet."""
        return f"{self.location}/{MANIFEST}"

    @property
    def location(self) -> str:
        """Path of the latest release's folder. Raises NotMaterialized if nothing was released yet."""
        latest = self._released_content()
        if latest is None:
            raise self.not_there_yet()
        return self._path(latest)

    def find(self) -> dict[str, Any] | None:
        """The manifest of the latest release of this set, None if there is none yet.

        Raises:
            AnotherRecipe: if the release's name belongs to another recipe.
        """
        latest = self._released_content()
        return None if latest is None else self._product(latest).manifest()

    @cached_property
    def product(self) -> Product:
        """The files of the latest release. Raises NotMaterialized if nothing was released yet."""
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
        self._released_content()  # refuses a name that is another recipe's before anything is spent
        table = HuggingFace(format="huggingface")
        written: list[Format] = []
        with selection.ranked(self.scored, self.recipe, self.partition) as ranked, sql.scratch() as scratch:
            _refuse_failing(ranked.report)
            rows = gathering.gather(scratch, ranked, self.scored, self.table)
            count = rows.count
            content = rows.content_hash(self.recipe.release.instructions, self.recipe.seed)
            product = self._product(content)
            before = self._before(product)
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
        product.put("README.md", card.render(self.recipe, self.chosen, values, formats, product.names()).encode())
        manifest = product.seal(values)
        latest = {"content_hash": content, "recipe": self.recipe.name, "set": self.partition}
        if self.store.get_json(self._release_path) != latest:
            self.store.put_json(self._release_path, latest)
        self.made(manifest)
        self.__dict__.pop("product", None)
        return {**manifest, "written": [form.kind_name for form in (*written, *further)]}

    def formats(self) -> list[Format]:
        """The formats that the latest release has, those no longer asked for among them.

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

    @property
    def _release_path(self) -> str:
        return self.store.path("releases", self.release_name, LATEST)

    def _released_content(self) -> str | None:
        """Content hash of the latest release of this set, None if there is none.

        Raises:
            AnotherRecipe: if the release's name belongs to another recipe.
        """
        found = self.store.get_json(self._release_path)
        if found is None:
            return None
        where = self.store.unstrip(self._release_path)
        content = found.get("content_hash") if isinstance(found, dict) else None
        if not isinstance(content, str) or not re.fullmatch("[0-9a-f]{32}", content):
            raise Mendable(f"{where} names no release; delete it and {REMEDY}")
        if "recipe" not in found:  # of a version whose releases are not read any more
            return None
        if found["recipe"] != self.recipe.name:
            raise AnotherRecipe(
                f"{where}: the release {self.release_name!r} belongs to recipe {found['recipe']!r}, and recipe "
                f"{self.recipe.name!r} may not move it; set release.name to a name of its own, or correct its name"
            )
        return content if found.get("set") == self.partition else None

    def _path(self, content: str) -> str:
        return self.store.path("releases", self.release_name, content)

    def _product(self, content: str) -> Product:
        return Product(self.store, self._path(content), REMEDY)

    def _before(self, product: Product) -> dict[str, Any]:
        """The manifest of an earlier run for the same content, empty if there is none or it is damaged."""
        try:
            found = product.manifest()
        except Mendable as damage:
            log.warning("%s; it will be written again", damage)
            return {}
        return found or {}

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
    for form in formats:
        product.forget(form.folder)
    writers = [form.writer(partial(_put, product, form.folder), context) for form in formats]
    done = 0
    for part in rows:
        progress(what, done, context.rows)
        for writer in writers:
            writer.add(part)
        done += part.num_rows
    for writer in writers:
        writer.close()
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
            product.forget(form.folder)
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
