"""Sections and the values they name: what renames stored work, and what does not."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from synthvlm_core import hashing
from synthvlm_core.parts.part import OneOf, kinds
from synthvlm_core.parts.section import Absent, Incidental, Model, Section, definition, named
from synthvlm_core.recipe import sections


class Drawing(Section):
    """What a user has stored work of."""

    kind: Literal["drawing"]
    steps: int
    batch_size: Annotated[int, Incidental()] = 8
    scheduler: Annotated[str | None, Absent(None)] = None
    scale: Annotated[float, Absent(1.0)] = 1.0
    model: Model


def drawing(cls: type[Section] = Drawing, **more: object) -> Section:
    return cls.model_validate({"kind": "drawing", "steps": 4, "model": {"id": "m"}, **more})


class WithOptionalKey(Drawing):
    """A later version: a key nobody uses yet."""

    eta: Annotated[float, Absent(0.0)] = 0.0


class WithOtherDefault(Drawing):
    """A later version: another default, and the frozen meaning of absence."""

    scale: Annotated[float, Absent(1.0)] = 2.0


class WithSection(Drawing):
    """A later version: an optional section below."""

    refiner: Annotated[Model | None, Absent(None)] = None
    thresholds: Annotated[dict[str, float], Absent({}), Field(default_factory=dict)]
    sizes: Annotated[tuple[int, ...], Absent([])] = ()


def test_only_what_a_result_depends_on_is_named() -> None:
    assert named(drawing()) == {"kind": "drawing", "steps": 4, "model": {"id": "m"}}
    changed = drawing(scale=2.0, scheduler="euler", batch_size=99)
    assert named(changed) == {
        "kind": "drawing",
        "steps": 4,
        "model": {"id": "m"},
        "scale": 2.0,
        "scheduler": "euler",
    }


@pytest.mark.parametrize("later", [WithOptionalKey, WithSection])
def test_a_new_optional_key_renames_nothing(later: type[Section]) -> None:
    for more in ({}, {"scale": 3.0}, {"scheduler": "euler"}):
        assert named(drawing(later, **more)) == named(drawing(**more))
        assert drawing(later, **more).hash == drawing(**more).hash


def test_a_used_optional_key_is_another_result() -> None:
    assert drawing(WithOptionalKey, eta=0.5).hash != drawing().hash
    assert drawing(WithSection, refiner={"id": "r"}).hash != drawing().hash
    assert named(drawing(WithSection, sizes=(), thresholds={})) == named(drawing())
    assert named(drawing(WithSection, sizes=(1,), thresholds={"a": 0.5})) == {
        **named(drawing()),
        "sizes": [1],
        "thresholds": {"a": 0.5},
    }


def test_a_changed_default_renames_exactly_what_it_must() -> None:
    # who said nothing gets another result, and another name
    assert named(drawing(WithOtherDefault)) == {**named(drawing()), "scale": 2.0}
    # who said it keeps the name: of the new default as of the old
    assert named(drawing(WithOtherDefault, scale=2.0)) == named(drawing(scale=2.0))
    assert named(drawing(WithOtherDefault, scale=1.0)) == named(drawing())


def test_a_default_that_does_not_say_what_its_absence_meant_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Careless\.eta has a default and does not say what its absence meant"):

        class Careless(Drawing):
            eta: float = 0.0


def test_a_tag_needs_no_marker_and_a_needed_key_none_either() -> None:
    class Fine(Section):
        kind: Literal["fine"] = "fine"
        steps: int

    assert named(Fine(steps=1)) == {"kind": "fine", "steps": 1}


def test_integers_and_floats_of_one_value_are_one_value() -> None:
    """YAML's `1` for a float is a float once it is validated."""
    assert named(drawing(scale=1)) == named(drawing())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"what": 1}, "Extra inputs"),
        ({"steps": "4"}, "valid integer"),
        ({"steps": 4.0}, "valid integer"),
        ({"steps": True}, "valid integer"),
        ({"scale": float("nan")}, "finite"),
        ({"scale": float("inf")}, "finite"),
        ({"kind": "painting"}, "drawing"),
        ({"model": {"id": ""}}, "at least 1 character"),
    ],
)
def test_a_section_is_strict(more: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        drawing(**more)


def test_a_section_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        drawing().steps = 5  # type: ignore[attr-defined]


def test_weights_stand_for_models_under_their_keys() -> None:
    class Pair(Section):
        left: Drawing
        models: tuple[Model, ...]

    pair = Pair(left=drawing(), models=(Model(id="a"), Model(id="b")))  # type: ignore[arg-type]
    asked: dict[str, str] = {}
    found = named(pair, weights=lambda model, key: asked.setdefault(key, f"weights of {model.id}"), key="here")
    assert asked == {
        "here.left.model": "weights of m",
        "here.models.0": "weights of a",
        "here.models.1": "weights of b",
    }
    assert found == {
        "left": {"kind": "drawing", "steps": 4, "model": "weights of m"},
        "models": ["weights of a", "weights of b"],
    }


def test_keys_are_left_out_at_any_depth() -> None:
    class Outer(Section):
        drawing: Drawing
        seed: int

    outer = Outer(drawing=drawing(), seed=1)  # type: ignore[arg-type]
    assert named(outer, leave_out=("seed", "drawing.steps", "drawing.model.id")) == {
        "drawing": {"kind": "drawing", "model": {}}
    }


def test_a_definition_is_of_name_version_and_values() -> None:
    one = definition("ssim", 1, {"window": 7})
    assert one == definition("ssim", 1, {"window": 7})
    others = [definition("clip", 1, {"window": 7}), definition("ssim", 2, {"window": 7}), definition("ssim", 1, {})]
    assert len({one, *others}) == 4
    assert one == hashing.of_json({"measurement": "ssim", "version": 1, "values": {"window": 7}})


def test_the_definition_of_stored_work_stays() -> None:
    """Every stored folder has such a name: another value here renames all of them."""
    found = definition("drawing", 1, named(drawing(scheduler="euler"), weights=lambda model, key: "0" * 32))
    assert found == "b11e1776b07662ed3f2a2c4da0db975c"


def test_every_section_of_the_recipe_says_what_absence_meant() -> None:
    """`Absent` is what `named` compares with, so it must be what `named` would give for some value of the key."""
    rooms = [
        marker.room
        for value in vars(sections).values()
        for marker in getattr(value, "__metadata__", ())
        if isinstance(marker, OneOf)
    ]
    assert len(rooms) == 6
    classes = {cls for room in rooms for cls in kinds(room).values()} | {
        cls for cls in vars(sections).values() if isinstance(cls, type) and issubclass(cls, Section)
    }
    assert len(classes) > 30
    for cls in classes:
        for name, field in cls.model_fields.items():
            markers = [marker for marker in field.metadata if isinstance(marker, Absent)]
            assert len(markers) <= 1, f"{cls.__name__}.{name}"
            for marker in markers:
                hashing.of_json(marker.value)  # a JSON value: no tuple, no section
                assert not isinstance(marker.value, tuple | Section), f"{cls.__name__}.{name}"
