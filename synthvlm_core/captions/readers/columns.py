"""Column maps: which column of a person's own file is the caption, which the url.

Belongs here: the section that names columns, and a cell as a number. Does not belong here: formats
(delimited.py, json_lines.py).
"""

import math
from typing import Annotated, Any

from pydantic import Field

from synthvlm_core.parts.section import Absent, Section

ColumnName = Annotated[str, Field(min_length=1)]


class Columns(Section):
    """Names of columns or keys; only the caption's is needed."""

    text: ColumnName
    url: Annotated[ColumnName | None, Absent(None)] = None
    uid: Annotated[ColumnName | None, Absent(None)] = None
    similarity: Annotated[ColumnName | None, Absent(None)] = None

    def named(self) -> dict[str, str]:
        """What is mapped, to the name of its column."""
        return {what: name for what, name in self.model_dump().items() if name is not None}


def as_number(cell: Any) -> float | None:
    """A similarity, None where there is none or it is no finite number."""
    if isinstance(cell, bool) or cell in (None, "", b""):
        return None
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
