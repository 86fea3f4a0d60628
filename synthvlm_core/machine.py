"""What a machine or a store refuses, in words: room, rights, credentials, packages.

Belongs here: the one place that turns errors of the system and of libraries into what a person must mend. Does not
belong here: errors of our own (errors.py), which files may be read (captions/readers/access.py).

A system says that a disk is full, and of many calls not which; a library says it in words of its own. So whoever works
in a place says so, and whoever runs something to its end asks for words:

    with machine.at(path):      what is refused in here is about this path or URL
    with machine.in_words():    what a person must mend comes out as a Mendable, anything else as it is
"""

import contextlib
import errno
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fsspec

from synthvlm_core.errors import Mendable

FULL_BYTES = 1 << 20
"""A disk with less room than this is full, whatever an error says."""


class Refusal(NamedTuple):
    """What is refused, and what a person can do about it."""

    what: str
    remedy: str


class Unusable(Mendable):
    """The machine or a store refuses what is needed; the message names the place, what is wrong and the remedy."""


_FULL = Refusal("no space is left there", "make room or name another place; what is stored stays")
_QUOTA = Refusal("the quota there is used up", "make room or have it raised; what is stored stays")
_READ_ONLY = Refusal("it is mounted read-only", "mount it for writing, or name another place")
_DENIED = Refusal("this user may not do that there", "grant this user access, or name another place")
_BY_NUMBER = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _QUOTA,
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EFBIG: Refusal("a file would be larger than this process may write", "raise the limit (ulimit -f)"),
    errno.ENAMETOOLONG: Refusal("a name is too long for that file system", "name a shorter place"),
    errno.ELOOP: Refusal("links lead in a circle", "mend them"),
}
_BY_TEXT = {
    re.compile(r"No space left on device|disk is full|max_temp_directory_size"): _FULL,
    re.compile(r"Disk quota exceeded"): _QUOTA,
    re.compile(r"Read-only file system"): _READ_ONLY,
}
"""Of libraries that write files by themselves: safetensors, torch, DuckDB, SQLite."""
_CUT_SHORT = re.compile(r"inline_container|PytorchStreamWriter|requested and \d+ written")
"""How torch and numpy say that they could not write to the end, without saying why."""
_AWS = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for every process"
_NO_BUCKET = Refusal("it names no bucket that there can be", "write s3://BUCKET/FOLDER")
_BY_NAME = {
    "NoCredentialsError": Refusal("there are no credentials for it", _AWS),
    "PartialCredentialsError": Refusal("only a part of the credentials for it is set", _AWS),
    "ProfileNotFound": Refusal("AWS_PROFILE names no profile of ~/.aws/config", "correct it"),
    "TokenRetrievalError": Refusal("the login for it has expired", "run `aws sso login`"),
    "UnauthorizedSSOTokenError": Refusal("the login for it has expired", "run `aws sso login`"),
    "SSOTokenLoadError": Refusal("nobody is logged in for it", "run `aws sso login`"),
    "ParamValidationError": _NO_BUCKET,
    "NoRegionError": Refusal("its region is not known", "set AWS_DEFAULT_REGION"),
    "DefaultCredentialsError": Refusal("there are no credentials for it", "set GOOGLE_APPLICATION_CREDENTIALS"),
    "CredentialUnavailableError": Refusal("there are no credentials for it", "set AZURE_STORAGE_CONNECTION_STRING"),
    "ClientAuthenticationError": Refusal("its credentials are not taken", "renew them"),
}
"""Errors of object stores' clients, by the names of their classes."""
_EXPIRED = Refusal("the credentials for it have expired or are not valid", "renew them")
_BY_CODE = {
    "NoSuchBucket": Refusal("there is no such bucket", "make it, or correct the name"),
    "InvalidBucketName": _NO_BUCKET,
    "ExpiredToken": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "400": _EXPIRED,  # to a request for a head, which has no room for words
    "InvalidAccessKeyId": Refusal("its server does not know the access key", "correct AWS_ACCESS_KEY_ID"),
    "SignatureDoesNotMatch": Refusal("the secret key is another access key's", "correct AWS_SECRET_ACCESS_KEY"),
    "RequestTimeTooSkewed": Refusal("the clock of this machine is wrong", "set it"),
    "QuotaExceeded": _QUOTA,
    "InsufficientStorage": _FULL,
    "507": _FULL,
    "XMinioStorageFull": _FULL,
}
"""What an S3 server answers."""
_FORBIDDEN = "grant its credentials reading and writing there, or set others"
_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "hf": "huggingface_hub",
}
"""What reads the URLs of a protocol."""


@contextlib.contextmanager
def at(place: str | Path) -> Iterator[None]:
    """Say of whatever is refused in here that it is about a path or URL. What is missing, callers tell themselves.

    Raises:
        Unusable: in place of what the system or a library said.
    """
    try:
        yield
    except Exception as error:
        if (found := _refused(error, str(place))) is not None:
            raise found from error
        raise


@contextlib.contextmanager
def in_words() -> Iterator[None]:
    """Run something to its end: what a person must mend comes out as a Mendable, any other error as it is."""
    try:
        yield
    except Exception as error:
        if (found := mendable(error)) is not None and found is not error:
            raise found from error
        raise


def mendable(error: BaseException) -> Mendable | None:
    """What a person must mend, None for an error of the program itself, which may be tried again."""
    if isinstance(error, Mendable):
        return error
    if isinstance(error, FileNotFoundError) and _code(error) not in _BY_CODE:
        return Unusable(f"{_named(error) or error}: no such file or folder; put it there, or make again what made it")
    return _refused(error, "")


def refusal(error: BaseException, place: str = "") -> Refusal | None:
    """What an error says is refused, None if it says something else.

    Args:
        place: a path or URL that it is about, as far as that is known.
    """
    text = str(error)
    if isinstance(error, ModuleNotFoundError):
        return _missing(error)
    if (code := _code(error)) in _BY_CODE:
        return _BY_CODE[code]
    if type(error).__name__ in _BY_NAME:
        return _BY_NAME[type(error).__name__]
    if isinstance(error, OSError) and error.errno in _BY_NUMBER:
        return _BY_NUMBER[error.errno]
    if isinstance(error, PermissionError):  # of an object store, which has words of its own
        return Refusal(f"access is refused ({' '.join(text.split())[:200]})", _FORBIDDEN)
    for pattern, found in _BY_TEXT.items():
        if pattern.search(text):
            return found
    if _CUT_SHORT.search(text) and (_is_full(place) if place else _full_places()):
        return _FULL
    if type(error).__name__ == "OutOfMemoryError" and "CUDA" in text:
        return Refusal(
            "the accelerator's memory is not enough", "lower batch_size or micro_batch of the section, or free memory"
        )
    return None


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a path or any fsspec URL, and the path there. Requests nothing.

    Raises:
        Unusable: if nobody knows its protocol, the package for it is not installed, or it names no bucket.
    """
    protocol = url.partition("://")[0].rpartition("::")[2].lower() if "://" in url else "file"
    if protocol in _PACKAGES and not url.partition("://")[2].partition("/")[0]:
        raise Unusable(f"{url} names no bucket; write {protocol}://BUCKET/FOLDER")
    try:
        found, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        package = _PACKAGES.get(protocol, protocol)
        raise Unusable(
            f"{url}: {protocol}:// needs {package}, which is not installed; pip install {package}, in the environment "
            "of every process"
        ) from error
    except ValueError as error:  # fsspec's word for a protocol that it does not know
        known = ", ".join(f"{name}://" for name in _PACKAGES)
        raise Unusable(f"{url}: {error}; write a path, or a URL of {known}") from error
    return found, path


def has(package: str) -> bool:
    """Whether a package is installed, or a module of one."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # not even what it is part of
        return False


def _refused(error: BaseException, place: str) -> Unusable | None:
    if isinstance(error, Mendable) or (found := refusal(error, place)) is None:
        return None
    named = _named(error)
    # of a temporary file beside the one that is written nobody knows; of a folder above it it is worth telling
    if place and ("://" in place or not named or Path(named).parent.is_relative_to(Path(place).parent)):
        named = place
    if not named and found is _FULL:
        named = ", ".join(_full_places()) or "a disk"
    return Unusable(f"{f'{named}: ' if named else ''}{found.what}; {found.remedy}")


def _missing(error: ModuleNotFoundError) -> Refusal | None:
    """Of a package that is not there; a module that an installed package lacks is a mistake of the program."""
    package = (error.name or "").partition(".")[0]
    if not package or has(package):
        return None
    return Refusal(f"the package {package} is not installed in this environment", f"pip install {package}")


def _code(error: BaseException) -> str:
    """The code that an S3 server answered, "" where none did."""
    answer = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""


def _named(error: BaseException) -> str:
    """The path that an error of the system names, "" where it names none. Of two the second is the one written."""
    names = [getattr(error, name, None) for name in ("filename2", "filename")]
    return next((os.fsdecode(name) for name in names if isinstance(name, str | bytes)), "")


def _is_full(place: str) -> bool:
    """Whether the disk of a local path has no room."""
    if "://" in place:
        return False
    path = Path(place).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free < FULL_BYTES


def _full_places() -> list[str]:
    """Of the places where any process writes, those without room."""
    temporary = os.environ.get("TMPDIR") or tempfile.gettempdir()  # which passes over one that is full
    return [place for place in dict.fromkeys((temporary, os.getcwd())) if _is_full(place)]
