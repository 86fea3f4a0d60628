"""Where a recipe's names of files lead, and how they are told to people.

Belongs here: turning a path, a URL or a packaged name into something to open, and a URL into a name without
credentials. Does not belong here: listing, opening and reading (captions/readers/opening.py, models/weights.py), which
URLs may be opened (captions/readers/access.py).

    captions/*.tsv              relative to the file of the recipe in which it stands
    ~/captions/*.tsv            the user's home
    package:NAME/path           a file that ships with an installed Python package
    s3://bucket/captions.tsv    a URL
"""

import importlib.util
import os
import re
from pathlib import Path
from urllib.parse import unquote_plus

from synthvlm_core.errors import RecipeError

PACKAGE = "package:"

_SECRET = re.compile(
    r"x-(amz|goog|ms|oss|obs|cos)-.+|(.*[-_.])?(sig|signature|token|jwt|auth|authorization|secret|password|passwd|pwd"
    r"|passphrase|credentials?|session([-_]?id)?|sid|api[-_]?key|private[-_]?key)"
    r"|.*(token|secret|password|signature|accesskey(id)?|apikey|access[-_]key([-_]id)?)"
)
"""Names of query parameters that hold what opens a file, in lower case."""
_PERHAPS = re.compile(r"key|code|auth[-_]?key|hash|policy|.*[-_]key")
"""Names that hold that or a file's name: the name of a caption file is no secret."""
_SIGNED = re.compile(r"s[vtesrpi]|spr|srt|ss|sip|skoid|sktid|skt|ske|sks|skv|expires|key-pair-id|ossaccesskeyid")
"""Names that stand beside a signature and mean nothing without it."""
_FILE_NAME = re.compile(r"\.(tsv|csv|txt|json|jsonl|ndjson|parquet|tar)(\.(gz|bz2|xz|zst|zip))?\Z", re.IGNORECASE)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>\\]+")


def locate(name: str, folder: str) -> str:
    """An absolute path or a URL.

    Args:
        folder: the recipe's folder.

    Raises:
        RecipeError: if a packaged name leads to no installed package or out of it.
    """
    if name.startswith(PACKAGE):
        package, _, rest = name.removeprefix(PACKAGE).partition("/")
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise RecipeError(f"{name!r}: there is no installed package {package!r}; install it or correct the name")
        root = os.path.abspath(next(iter(spec.submodule_search_locations)))
        path = os.path.normpath(os.path.join(root, rest))
        if os.path.commonpath([root, path]) != root:
            raise RecipeError(f"{name!r} leads out of its package")
        return path
    if "://" in name:
        return name
    return os.path.normpath(os.path.join(os.path.abspath(folder), Path(name).expanduser()))


def is_relative(name: str) -> bool:
    """Whether a name depends on the folder of the recipe."""
    return not (name.startswith((PACKAGE, "~")) or "://" in name or os.path.isabs(name))


def shown(url: str) -> str:
    """A URL without what opens it: no user and password, no signature, no token. A URL without those is itself.

    What it leaves out is the same at every signing, so the name of a file is, too. Secrets within a path are not
    known as such.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    rest, hash_sign, fragment = rest.partition("#")
    rest, question, query = rest.partition("?")
    host, slash, path = rest.partition("/")
    user, at, place = host.rpartition("@")
    if at and (":" in user or scheme.lower() in ("http", "https", "ftp", "ftps", "sftp", "ssh", "smb")):
        host = place
    return scheme + separator + host + slash + path + _kept(question, query) + _kept(hash_sign, fragment)


def without_credentials(text: str) -> str:
    """A message with every URL in it as it is shown."""
    return _URL.sub(lambda found: shown(found[0]), text)


def _kept(mark: str, query: str) -> str:
    """A query or fragment without the parameters that hold credentials."""
    if "=" not in query:
        return mark + query
    parts = re.split(r"([&;])", query)
    parameters, between = parts[::2], ["", *parts[1::2]]
    pairs = [tuple(unquote_plus(half) for half in part.partition("=")[::2]) for part in parameters]
    signed = any(_is_secret(name.lower(), value) for name, value in pairs)
    kept = [
        join + part
        for join, part, (name, value) in zip(between, parameters, pairs, strict=True)
        if not _is_secret(name.lower(), value) and not (signed and _SIGNED.fullmatch(name.lower()))
    ]
    if len(kept) == len(parameters):
        return mark + query
    return mark + "".join(kept).lstrip("&;") if kept else ""


def _is_secret(name: str, value: str) -> bool:
    if _PERHAPS.fullmatch(name):
        return bool(value) and not _FILE_NAME.search(value)
    return bool(_SECRET.fullmatch(name))
