from pathlib import Path

import pytest

from synthvlm_miniature.training import command_line
from synthvlm_miniature.training.clip.settings import Settings as Clip
from synthvlm_miniature.training.language.settings import Settings as Language
from synthvlm_miniature.training.text_to_image.settings import Settings as TextToImage


@pytest.mark.parametrize("settings", [Clip, Language, TextToImage])
def test_every_setting_is_an_option(settings: type[Clip] | type[Language] | type[TextToImage]) -> None:
    parser = command_line.parser("Train.", settings)
    assert command_line.chosen(parser.parse_args(["made"]), settings) == settings()
    given = parser.parse_args(["made", "--steps", "3", "--seed", "7"])
    assert given.folder == Path("made")
    chosen = command_line.chosen(given, settings)
    assert (chosen.steps, chosen.seed) == (3, 7)
