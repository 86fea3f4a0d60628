"""The files of a source: finding them, and telling whether one changed.

Belongs here: patterns, names and fingerprints. Does not belong here: what is in a file (readers/), judging its rows
(judging.py).
"""

import functools
import glob
import os
from collections.abc import Sequence

import fsspec

from synthvlm_core import hashing
from synthvlm_core.captions.readers import opening
from synthvlm_core.errors import Mendable
from synthvlm_core.parts.locations import PACKAGE, locate
from synthvlm_core.parts.source import InputFile, Source, Unreadable


class SourceError(Mendable):
    """A file that cannot be read at all; the message names the file, what is wrong and the remedy."""


def input_files(source: Source, folder: str) -> list[InputFile]:
    """The files of a source, sorted by name; relative patterns start at `folder`.

    Raises:
        SourceError: if a pattern matches nothing, or files that belong together do not pair up.
    """
    found = resolve(source.name, source.files, folder)
    beside = tuple(url for _, url in resolve(source.name, source.beside, folder))
    if not (source.paired and beside):
        return sorted((InputFile(name, url, beside) for name, url in found), key=lambda file: file.name)
    if len(found) != len(beside):
        raise SourceError(
            f"source {source.name!r}: {len(found)} caption files but {len(beside)} url lists in metadata_files. "
            "List one url list per caption file, in the same order"
        )
    pairs = zip(found, beside, strict=True)
    return sorted((InputFile(name, url, (urls,)) for (name, url), urls in pairs), key=lambda file: file.name)


def fingerprint(file: InputFile) -> str:
    """Digest of sizes and times or entity tags of a file and its companions: changes when one of them does.

    Raises:
        SourceError: if one of them is gone.
    """
    return fingerprints([file])[0]


def fingerprints(files: Sequence[InputFile]) -> list[str]:
    """The fingerprint of each file; what several files share is looked at once."""
    modified = functools.cache(opening.modified)
    beside = functools.cache(lambda companions: hashing.of_json([modified(url) for url in companions]))
    try:
        return [hashing.of_json([modified(file.url), beside(file.companions)]) for file in files]
    except Unreadable as error:
        raise SourceError(str(error)) from error


def resolve(source: str, patterns: Sequence[str], folder: str) -> list[tuple[str, str]]:
    """Name and url of every file, patterns in their order, each one's matches sorted, none twice.

    Raises:
        SourceError: if a pattern matches nothing or cannot be looked up; the first one.
    """
    found: dict[str, str] = {}
    for pattern in patterns:
        try:
            matches = _remote(pattern) if "://" in pattern else _local(pattern, folder)
        except Mendable:
            raise
        except Exception as error:  # each object store's client has errors of its own
            raise SourceError(f"source {source!r}: {pattern} cannot be listed: {error}. Check access to it") from error
        if not matches:
            where = "" if "://" in pattern or os.path.isabs(pattern) else f" (looked in {os.path.abspath(folder)})"
            raise SourceError(
                f"source {source!r}: {pattern} matches no file{where}. Put the files there or correct the recipe"
            )
        for name, url in sorted(matches):
            if not _is_unicode(url):
                raise SourceError(
                    f"source {source!r}: the name of {os.fsencode(url)!r} is not UTF-8. Rename it to UTF-8"
                )
            found.setdefault(url, name)
    return [(name, url) for url, name in found.items()]


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes of a local name that are not UTF-8 come as surrogates
        return False
    return True


def _local(pattern: str, folder: str) -> list[tuple[str, str]]:
    packaged, _, rest = pattern.partition("/")
    if pattern.startswith(PACKAGE):
        base, pattern, prefix = locate(packaged, folder), os.path.normpath(rest), f"{packaged}/"
        locate(f"{packaged}/{rest}", folder)  # refuses to lead out of the package
    else:
        base, pattern, prefix = os.path.abspath(folder), os.path.expanduser(pattern), ""
    if os.path.isfile(os.path.join(base, pattern)):  # a name may hold brackets
        names = [pattern]
    else:
        names = glob.glob(pattern, root_dir=base, recursive=True)
    paths = [
        (prefix + os.path.normpath(name).replace(os.sep, "/"), os.path.normpath(os.path.join(base, name)))
        for name in names
    ]
    return [(name, path) for name, path in paths if os.path.isfile(path)]


def _remote(pattern: str) -> list[tuple[str, str]]:
    filesystem, path = fsspec.url_to_fs(pattern)
    filesystem.invalidate_cache()  # a sensor looks again in the same process
    if not glob.has_magic(path):
        try:  # `isfile` would say no where nobody answers
            there = filesystem.info(path)["type"] == "file"
        except FileNotFoundError:
            there = False
        return [(pattern, pattern)] if there else []
    if filesystem.isfile(path):  # a name may hold brackets
        return [(pattern, pattern)]
    protocol = pattern.rpartition("://")[0] + "://"
    found = [match for match, info in filesystem.glob(path, detail=True).items() if info["type"] == "file"]
    urls = [match if "://" in match else protocol + match for match in found]
    return [(url, url) for url in urls]
