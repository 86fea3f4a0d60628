"""Forms of JSON documents: what manifests and pointers must be before anything in them is believed.

Belongs here: the marker of a form, names and hashes, and the forms that several stages share. Does not belong here:
reading one (`Store.get_json`), the form of a stage's own manifest (the stages).

    @document
    class Pointer(TypedDict):
        content_hash: Hash

A name is a name, never a path: nothing that a document says leads out of the folder in which it is looked for.
"""

from typing import Annotated, Any, NotRequired

from pydantic import AfterValidator, ConfigDict, Field, with_config
from typing_extensions import TypedDict

document = with_config(ConfigDict(extra="allow", strict=True, allow_inf_nan=False))
"""Marks a TypedDict as the form of a document: values of the stated types, and further keys, which stay."""

Count = Annotated[int, Field(ge=0)]
Named = Annotated[str, Field(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$", max_length=64)]
"""A name of a recipe, source, set or variant."""
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""A digest of hashing.py."""
Json = dict[str, Any]
"""An object about which nothing more is asked."""


def _below(path: str) -> str:
    if {"", ".", ".."} & set(path.split("/")) or "\\" in path:
        raise ValueError(f"{path!r} leads out of its folder")
    return path


Below = Annotated[str, AfterValidator(_below)]
"""Names with slashes between them: a path that leads to a place below its folder."""


@document
class ShardEntry(TypedDict):
    """One shard of a sealed folder."""

    name: Annotated[str, Field(pattern=r"^(part-[0-9]{5,}-)?[0-9a-f]{32}\.parquet$")]
    rows: Count
    size: Count
    content_hash: Hash


@document
class Sealed(TypedDict):
    """What every manifest of a sealed folder has."""

    shards: dict[str, list[ShardEntry]]


@document
class FileEntry(TypedDict):
    """One file of a product."""

    name: Below
    size: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@document
class Files(TypedDict):
    """What every manifest of a product has."""

    files: list[FileEntry]


@document
class Made(TypedDict):
    """What a stage made last under a recipe's name."""

    manifest: Below
    """Where its manifest lies, below the store's root."""
    code_version: str
    settings: NotRequired[str]
    """The code version of the recipe as if it had this partition alone: other partitions may come and go."""
    content: NotRequired[Hash]
    inputs: NotRequired[dict[str, Hash]]
    """Content of what it was made of, by `stage/partition`."""
