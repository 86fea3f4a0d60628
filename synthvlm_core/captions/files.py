"""The files of a source: finding them, and telling whether one changed.

Belongs here: patterns, names and fingerprints. Does not belong here: what is in a file (readers/), judging its rows
(judging.py).
"""

import glob
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

from synthvlm_core import hashing
from synthvlm_core.captions.readers import access, opening
from synthvlm_core.errors import Mendable
from synthvlm_core.parts.locations import PACKAGE, locate, shown, without_credentials
from synthvlm_core.parts.source import InputFile, Source, Unreadable

_AT_ONCE = 16  # requests for files that no listing told about
_LISTED = ("s3", "s3a")
"""Stores whose listings give the very size and tag that asking for one object gives, so that one request tells of a
thousand objects. Keys of stored work hold them: of another store this must be shown first."""


class SourceError(Mendable):
    """A file that cannot be read at all; the message names the file, what is wrong and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))


class Found(NamedTuple):
    """A file that a pattern matches."""

    name: str
    url: str
    listed: list[Any] | None = None
    """Its size and tag, if the listing told them."""


def input_files(source: Source, folder: str) -> list[InputFile]:
    """The files of a source, sorted by name; relative patterns start at `folder`.

    Raises:
        SourceError: if a pattern matches nothing, or files that belong together do not pair up.
    """
    found = resolve(source.name, source.files, folder)
    companions = resolve(source.name, source.beside, folder)
    listed = {one.url: one.listed for one in (*found, *companions) if one.listed is not None}
    beside = tuple(one.url for one in companions)
    if not (source.paired and beside):
        return sorted((InputFile(one.name, one.url, beside, listed) for one in found), key=lambda file: file.name)
    if len(found) != len(beside):
        raise SourceError(
            f"source {source.name!r}: {len(found)} caption files but {len(beside)} url lists in metadata_files. "
            "List one url list per caption file, in the same order"
        )
    pairs = zip(found, beside, strict=True)
    return sorted((InputFile(one.name, one.url, (urls,), listed) for one, urls in pairs), key=lambda file: file.name)


def fingerprint(file: InputFile) -> str:
    """Digest of sizes and times or entity tags of a file and its companions: changes when one of them does. Looks at
    each of them now, whatever a listing told before.

    Raises:
        SourceError: if one of them is gone.
    """
    return fingerprints([replace(file, listed={})])[0]


def fingerprints(files: Sequence[InputFile]) -> list[str]:
    """The fingerprint of each file; what several files share is looked at once, what a listing told not at all."""
    marks: dict[str, list[Any]] = {}
    for listed in {id(file.listed): file.listed for file in files}.values():
        marks |= listed
    wanted = dict.fromkeys(url for file in files for url in (file.url, *file.companions))
    unlisted = [url for url in wanted if url not in marks]
    try:
        if any("://" in url for url in unlisted):
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                marks |= zip(unlisted, pool.map(opening.modified, unlisted), strict=True)
        else:
            marks |= {url: opening.modified(url) for url in unlisted}
    except Unreadable as error:
        raise SourceError(str(error)) from error
    beside = {
        companions: hashing.of_json([marks[url] for url in companions])
        for companions in {file.companions for file in files}
    }
    return [hashing.of_json([marks[file.url], beside[file.companions]]) for file in files]


def resolve(source: str, patterns: Sequence[str], folder: str) -> list[Found]:
    """Every file, patterns in their order, each one's matches sorted, none twice.

    Raises:
        SourceError: what is wrong with the patterns, all of it: one that matches nothing or cannot be looked up, a
            name that is not UTF-8, two files that differ in their credentials alone.
        RecipeError: if a packaged name leads nowhere.
    """
    found: dict[str, Found] = {}
    wrong: list[str] = []
    for pattern in patterns:
        try:
            if "://" in pattern:
                with opening.blame(pattern, "Check access to it"):
                    matches = _remote(pattern)
            else:
                matches = _local(pattern, folder)
        except Unreadable as error:
            why = str(error).removeprefix(f"{shown(pattern)}: ").removeprefix("cannot be read: ")
            wrong.append(f"{pattern} cannot be listed: {why}")
            continue
        if not matches:
            wrong.append(_nothing(pattern, folder))
        for one in sorted(matches, key=lambda one: one[:2]):
            if not _is_unicode(one.url):
                wrong.append(f"the name of {os.fsencode(one.url)!r} is not UTF-8. Rename it to UTF-8")
            found.setdefault(one.url, one)
    names: dict[str, str] = {}
    for one in found.values():
        if names.setdefault(one.name, one.url) != one.url:
            what = "are told apart by what looks like credentials alone, so that rows could not be told apart"
            wrong.append(f"two urls {one.name} {what}. Give the files names of their own")
    if wrong:
        raise SourceError("; ".join(f"source {source!r}: {what}" for what in dict.fromkeys(wrong)))
    return list(found.values())


def _nothing(pattern: str, folder: str) -> str:
    """A pattern without files, and what may be meant."""
    remote = "://" in pattern
    if remote and (bucket := _missing_bucket(pattern)):
        return f"{pattern} matches no file: there is no bucket {bucket}, or it may not be seen. Correct the name"
    if not remote and os.path.isdir(os.path.join(os.path.abspath(folder), os.path.expanduser(pattern))):
        return f"{pattern} is a folder. Name its files: {pattern.rstrip('/')}/*"
    where = "" if remote or os.path.isabs(pattern) else f" (looked in {os.path.abspath(folder)})"
    return f"{pattern} matches no file{where}. Put the files there or correct the recipe"


def _missing_bucket(pattern: str) -> str | None:
    """The bucket of a pattern that matches nothing, if that is why."""
    bucket = pattern.partition("://")[2].partition("/")[0]
    if pattern.partition("://")[0].lower() not in _LISTED:
        return None
    with opening.blame(pattern):
        filesystem, _ = access.filesystem(pattern)
        return None if filesystem.exists(bucket) else bucket


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes of a local name that are not UTF-8 come as surrogates
        return False
    return True


def _local(pattern: str, folder: str) -> list[Found]:
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
    return [Found(name, path) for name, path in paths if os.path.isfile(path)]


def _remote(pattern: str) -> list[Found]:
    """Like a shell, a pattern whose last part does not begin with a dot matches no hidden file."""
    filesystem, path = access.filesystem(pattern)
    filesystem.invalidate_cache()  # a sensor looks again in the same process
    protocol = pattern.partition("://")[0].lower()
    listed = protocol in _LISTED
    if info := _info(filesystem, path):  # a name may hold brackets
        return [Found(shown(pattern), pattern, opening.mark_of(info) if listed else None)]
    if not glob.has_magic(path):
        return []
    hidden = pattern.rpartition("/")[2].startswith(".")
    found = []
    for match, info in filesystem.glob(path, detail=True).items():
        if info["type"] != "file" or (match.rpartition("/")[2].startswith(".") and not hidden):
            continue
        url = match if "://" in match else f"{pattern.partition('://')[0]}://{match}"
        found.append(Found(shown(url), url, opening.mark_of(info) if listed else None))
    return found


def _info(filesystem: Any, path: str) -> dict[str, Any] | None:
    """What is known of one file, None if it is none. `isfile` would say no where nobody answers."""
    try:
        info: dict[str, Any] = filesystem.info(path)
    except FileNotFoundError as error:
        if opening.is_missing(error):
            return None
        raise
    return info if info["type"] == "file" else None
