"""The verdict on a set: what its checks found, stored beside its content, and what follows from it.

Belongs here: keeping findings, letting `latest` follow them, refusing a set that is not sound. Does not belong here:
the properties (checks.py).

    releases/<name>/<content hash>/verdict/<check>.json

A finding counts for one manifest under one recipe: `of` is the hash of both. Whoever looks stores what was found; when
the last check has passed, `latest` names the set. Training asks for the verdict in every way in which it is started: a
check that passed is believed, since the bytes are proved again as they are read; one that failed, or that nobody made,
is made then.
"""

from typing import Any

from typing_extensions import TypedDict

from synthvlm_core import hashing
from synthvlm_core.errors import Mendable
from synthvlm_core.findings import Finding
from synthvlm_core.machine import in_words
from synthvlm_core.release import checks
from synthvlm_core.release.checks import Property
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.store.documents import Hash, Json, document
from synthvlm_core.store.objects import DamagedObject


@document
class Found(TypedDict):
    """A stored finding."""

    of: Hash
    passed: bool
    summary: str
    numbers: Json


class UnsoundSet(Mendable):
    """A set that does not pass its checks: nothing is trained on it. The message names the checks and the remedy."""


def look(stage: Synthvlm100k, holds: Property) -> Finding:
    """Find out whether a property of a set holds, store what was found, and let `latest` follow."""
    try:
        with in_words():
            finding = holds(stage)
            keep(stage, holds, finding)
    except Mendable as error:
        return Finding(False, str(error))
    return finding


def keep(stage: Synthvlm100k, holds: Property, finding: Finding) -> None:
    """Store what was found, and let `latest` name the set if that was the last check to pass."""
    of = _subject(stage)
    found = {"of": of, "passed": finding.passed, "summary": finding.summary, "numbers": finding.numbers}
    stage.store.put_json(_path(stage, holds), found)
    if finding.passed and all(_passed(stage, other, of) for other in checks.PROPERTIES):
        stage.publish()


def stored(stage: Synthvlm100k) -> bool | None:
    """Whether the set passed every check, as far as that is stored; None if something was not looked at yet. Looks at
    nothing itself."""
    of = _subject(stage)
    found = [_passed(stage, holds, of) for holds in checks.PROPERTIES]
    return False if False in found else None if None in found else True


def refuse_unsound(stage: Synthvlm100k) -> None:
    """Do nothing if the set passes every check.

    Raises:
        UnsoundSet: if it does not.
        NotMaterialized: if there is none.
    """
    of = _subject(stage)
    failed = []
    for holds in checks.PROPERTIES:
        if not _passed(stage, holds, of):
            finding = look(stage, holds)
            if not finding.passed:
                failed.append(f"{holds.__name__}: {finding.summary}")
    if failed:
        where = stage.store.unstrip(stage.location)
        raise UnsoundSet(f"{where} does not pass its checks, and nothing is trained on it: {'; '.join(failed)}")


def _subject(stage: Synthvlm100k) -> str:
    """Hash of what a finding is about: the set's files, and the recipe's words about sets."""
    return hashing.of_json([stage.manifest, stage.code_version(stage.recipe)])


def _path(stage: Synthvlm100k, holds: Property) -> str:
    return f"{stage.location}/verdict/{holds.__name__}.json"


def _passed(stage: Synthvlm100k, holds: Property, of: str) -> bool | None:
    """Whether a property was found to hold for this very set and recipe; None if nobody looked."""
    try:
        found: dict[str, Any] | None = stage.store.get_json(_path(stage, holds), Found)
    except DamagedObject:  # it is looked at again
        return None
    return bool(found["passed"]) if found is not None and found["of"] == of else None
