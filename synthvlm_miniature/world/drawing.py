"""Drawing: from a scene to anti-aliased pixels, exactly and without a model.

Belongs here: the picture of a scene and of a lone shape. Does not belong here: reading pictures back (inverse.py),
image files (synthvlm_miniature.making).
"""

from PIL import Image, ImageDraw

from synthvlm_miniature.world.scenes import BACKGROUNDS, COLOURS, RGB, SIZES, Scene

_SUPERSAMPLING = 4


def draw(scene: Scene, resolution: int = 64) -> Image.Image:
    """Draw the scene as an anti-aliased RGB picture of `resolution` x `resolution` pixels."""
    side = resolution * _SUPERSAMPLING
    ground = BACKGROUNDS[scene.background]
    picture = Image.new("RGB", (side, side), ground)
    pen = ImageDraw.Draw(picture)
    for thing, (x, y) in zip(scene.things, scene.centres(), strict=True):
        _draw_shape(pen, thing.shape, x * side, y * side, SIZES[thing.size] * side / 2, COLOURS[thing.colour], ground)
    return picture.reduce(_SUPERSAMPLING)


def draw_template(shape: str, resolution: int) -> Image.Image:
    """The shape alone, white on black and touching all four edges: mode "L", `resolution` x `resolution`."""
    side = resolution * _SUPERSAMPLING
    picture = Image.new("RGB", (side, side), (0, 0, 0))
    _draw_shape(ImageDraw.Draw(picture), shape, side / 2, side / 2, side / 2, (255, 255, 255), (0, 0, 0))
    return picture.reduce(_SUPERSAMPLING).convert("L")


def _draw_shape(
    pen: ImageDraw.ImageDraw, shape: str, x: float, y: float, half: float, colour: RGB, ground: RGB
) -> None:
    """Fill the shape with centre (x, y) into its box of side 2 * half; a ring's hole shows the ground."""
    left, top, right, bottom = x - half, y - half, x + half - 1, y + half - 1
    match shape:
        case "square":
            pen.rectangle((left, top, right, bottom), fill=colour)
        case "circle":
            pen.ellipse((left, top, right, bottom), fill=colour)
        case "ring":
            pen.ellipse((left, top, right, bottom), fill=colour)
            inset = 0.46 * half
            pen.ellipse((left + inset, top + inset, right - inset, bottom - inset), fill=ground)
        case "triangle":
            pen.polygon([(x - 0.5, top), (right, bottom), (left, bottom)], fill=colour)
        case "cross":
            arm = 0.34 * half
            pen.rectangle((left, y - arm, right, y + arm - 1), fill=colour)
            pen.rectangle((x - arm, top, x + arm - 1, bottom), fill=colour)
        case _:
            raise ValueError(f"unknown shape: {shape}")
