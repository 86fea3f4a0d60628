"""`python -m synthvlm_miniature.training.language FOLDER`: trains and writes the folder.

Belongs here: the order of the steps. Does not belong here: any of them.
"""

from synthvlm_miniature.training import command_line, language
from synthvlm_miniature.training.language import loop, model
from synthvlm_miniature.training.language.settings import Settings
from synthvlm_miniature.training.language.tokenizer import build_tokenizer


def main() -> None:
    """Command line; see the package's text."""
    given = command_line.parser(language.__doc__, Settings).parse_args()
    settings = command_line.chosen(given, Settings)
    folder = given.folder / "language"
    tokenizer = build_tokenizer(settings.seed)
    trained, _ = loop.train(settings, tokenizer, folder)
    model.save(trained, tokenizer, folder)


if __name__ == "__main__":
    main()
