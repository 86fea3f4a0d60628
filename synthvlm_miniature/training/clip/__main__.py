"""`python -m synthvlm_miniature.training.clip FOLDER`: trains, cools down and writes both folders.

Belongs here: the order of the steps. Does not belong here: any of them.
"""

from synthvlm_miniature.training import clip, command_line
from synthvlm_miniature.training.clip import loop, model, vision
from synthvlm_miniature.training.clip.settings import Settings
from synthvlm_miniature.training.clip.tokenizer import build_tokenizer


def main() -> None:
    """Command line; see the package's text."""
    given = command_line.parser(clip.__doc__, Settings).parse_args()
    settings = command_line.chosen(given, Settings)
    folder = given.folder / "clip"
    tokenizer = build_tokenizer(settings.seed)
    trained, _ = loop.train(settings, tokenizer, folder)
    model.save(trained, tokenizer, folder)
    # From the written file, in whose precision the cool-down starts
    cooled, _ = loop.train(settings, tokenizer, cooled_from=model.load(folder))
    model.save(cooled, tokenizer, folder)
    vision.save(model.load(folder), given.folder / "clip-vision")


if __name__ == "__main__":
    main()
