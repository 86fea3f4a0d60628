"""Scratch databases for sorting, joining and counting tables larger than memory.

Belongs here: how a database is opened and bounded, how rows enter and leave it. Does not belong here: queries (the
stages).

A table of a scratch database is a `Relation`, passed from module to module as an object; in a query it spells its
name.
"""

import contextlib
import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from synthvlm_core.store import temporary
from synthvlm_core.store.rows import Rows

MEMORY_LIMIT = "1GB"
BATCH_ROWS = 10_000


class Scratch:
    """A database in memory: beyond its limit it spills to disk instead of growing."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        """For what the methods do not do."""
        self._numbers = itertools.count()

    def load(self, schema: pa.Schema, parts: Iterable[pa.Table]) -> "Relation":
        """A new relation with the rows of some tables, which come one at a time and may have further columns."""
        relation = self.create(schema.empty_table())
        self.add(relation, parts)
        return relation

    def add(self, relation: "Relation", parts: Iterable[pa.Table]) -> None:
        """Put rows into a relation, columns matched by name."""
        columns = ", ".join(relation.columns)
        for part in parts:
            self.connection.register("part", part.select(list(relation.columns)))
            self.connection.execute(f"insert into {relation} by name select {columns} from part")
            self.connection.unregister("part")

    def create(self, query: "str | pa.Table", values: Sequence[Any] = ()) -> "Relation":
        """A new relation that holds the result of a query, or a table."""
        name = f"scratch_{next(self._numbers)}"
        if isinstance(query, str):
            self.connection.execute(f"create table {name} as {query}", list(values))
        else:
            self.connection.register("part", query)
            self.connection.execute(f"create table {name} as select * from part")
            self.connection.unregister("part")
        return Relation(name, tuple(self.connection.table(name).columns))

    def view(self, query: str) -> "Relation":
        """A relation that holds nothing: the query is answered each time anew, and only as far as is asked."""
        name = f"scratch_{next(self._numbers)}"
        self.connection.execute(f"create view {name} as {query}")
        return Relation(name, tuple(self.connection.view(name).columns))

    def drop(self, relation: "Relation") -> None:
        """Give back what a relation takes."""
        self.connection.execute(f"drop table {relation}")

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a small result."""
        return self.connection.execute(query, list(values)).fetchall()

    def row(self, query: str, values: Sequence[Any] = ()) -> tuple[Any, ...]:
        """The one row of a result."""
        return self.rows(query, values)[0]

    def count(self, relation: "Relation | str") -> int:
        """How many rows a relation has."""
        return int(self.row(f"select count(*) from {relation}")[0])

    def tables(self, query: str, values: Sequence[Any] = (), *, rows: int = BATCH_ROWS) -> Iterator[pa.Table]:
        """A result of any size as tables of at most `rows` rows, never all at once."""
        held = Rows()
        with contextlib.closing(self.connection.cursor()) as cursor:
            # not `execute`: its Arrow readers hold the whole result, in no order where insertion order is not preserved
            result: Any = cursor.sql(query, params=list(values))
            for batch in result.to_arrow_reader(rows):
                held.add(pa.Table.from_batches([batch]))
                while len(held) >= rows:
                    yield held.take(rows)
        if len(held):
            yield held.take(rows)


@dataclass(frozen=True)
class Relation:
    """A table of a scratch database."""

    name: str
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


@contextlib.contextmanager
def scratch(memory_limit: str = MEMORY_LIMIT) -> Iterator[Scratch]:
    """An empty scratch database, gone afterwards."""
    with temporary.folder("scratch") as folder:
        connection = duckdb.connect(
            ":memory:",  # a file would be written twice, as its log and as itself, for rows that nobody reads again
            config={
                "memory_limit": memory_limit,
                "temp_directory": str(folder / "spill"),
                "autoinstall_known_extensions": "false",  # nothing is fetched from anywhere
                "autoload_known_extensions": "false",
                "preserve_insertion_order": "false",
            },
        )
        try:
            yield Scratch(connection)
        finally:
            connection.close()


def is_column(name: str) -> bool:
    """Whether a name can stand for a column in a query without quotes."""
    return re.fullmatch("[a-z_][a-z0-9_]*", name) is not None and name not in _keywords()


@functools.cache
def _keywords() -> frozenset[str]:
    with duckdb.connect() as database:
        found = database.execute(
            "select keyword_name from duckdb_keywords() where keyword_category <> 'unreserved'"
        ).fetchall()
    return frozenset(word for (word,) in found)


def number(value: float) -> str:
    """A number as SQL; `repr` of a float is exact."""
    return f"{value!r}::double"
