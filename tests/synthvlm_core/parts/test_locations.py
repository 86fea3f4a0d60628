import os
from pathlib import Path

import pytest

import synthvlm_miniature
from synthvlm_core.captions import files
from synthvlm_core.captions.files import SourceError
from synthvlm_core.errors import RecipeError
from synthvlm_core.parts.locations import is_relative, locate
from synthvlm_core.parts.part import kinds

HOME = Path(synthvlm_miniature.__file__).parent


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("captions/*.tsv", "/recipes/captions/*.tsv"),
        ("../other.tsv", "/other.tsv"),
        ("/data/x.tsv", "/data/x.tsv"),
        ("~/x.tsv", f"{os.path.expanduser('~')}/x.tsv"),
        ("s3://bucket/../x.tsv", "s3://bucket/../x.tsv"),
        ("package:synthvlm_miniature/models/clip", str(HOME / "models" / "clip")),
        ("package:synthvlm_miniature", str(HOME)),
        ("package:synthvlm_miniature/models/../sources", str(HOME / "sources")),
    ],
)
def test_where_a_name_leads(name: str, place: str) -> None:
    assert locate(name, "/recipes") == place


def test_a_packaged_name_does_not_depend_on_the_recipes_place() -> None:
    name = "package:synthvlm_miniature/models/clip"
    assert locate(name, "/a") == locate(name, "/b/c")
    assert not is_relative(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("package:no_such_package/x", "no installed package 'no_such_package'; install it or correct the name"),
        ("package:/x", "no installed package ''"),
        ("package:os/x", "no installed package 'os'"),
        ("package:synthvlm_miniature.models/x", "no installed package"),
        ("package:../x", "no installed package"),
        ("package:synthvlm_miniature/../synthvlm_core/errors.py", "leads out of its package"),
        ("package:synthvlm_miniature//etc/passwd", "leads out of its package"),
    ],
)
def test_a_packaged_name_that_leads_nowhere_is_refused(name: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        locate(name, "/recipes")


@pytest.mark.parametrize(
    ("name", "relative"),
    [("x.tsv", True), ("../x", True), ("/x", False), ("~/x", False), ("s3://b/x", False), ("package:p/x", False)],
)
def test_which_names_depend_on_the_recipes_place(name: str, relative: bool) -> None:
    assert is_relative(name) == relative


def test_packaged_sources_keep_their_names_on_every_machine() -> None:
    section = kinds("synthvlm_core.captions.readers")["cc3m"]
    pattern = "package:synthvlm_miniature/sources/cc/*.tsv"
    wanted = section.model_validate({"name": "cc", "format": "cc3m", "files": (pattern,)})
    [file] = files.input_files(wanted, "/anywhere")  # type: ignore[arg-type]
    assert file.name == "package:synthvlm_miniature/sources/cc/train.tsv"
    assert file.url == str(HOME / "sources" / "cc" / "train.tsv")
    out = wanted.model_copy(update={"files": ("package:synthvlm_miniature/../*/errors.py",)})
    with pytest.raises(RecipeError, match="leads out of its package"):
        files.input_files(out, "/anywhere")  # type: ignore[arg-type]
    none = wanted.model_copy(update={"files": ("package:synthvlm_miniature/sources/none/*.tsv",)})
    with pytest.raises(SourceError, match="matches no file"):
        files.input_files(none, "/anywhere")  # type: ignore[arg-type]
