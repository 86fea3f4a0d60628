"""`python -m synthvlm_miniature.training.text_to_image FOLDER`: all stages, and the folder.

Belongs here: the command line. Does not belong here: the stages' order (stages.py).
"""

from pathlib import Path

from synthvlm_miniature.training import command_line, text_to_image
from synthvlm_miniature.training.text_to_image import stages
from synthvlm_miniature.training.text_to_image.settings import Settings


def main() -> None:
    """Command line; see the package's text."""
    parser = command_line.parser(text_to_image.__doc__, Settings)
    parser.add_argument("--work", type=Path, help="folder for intermediate states, to continue from")
    given = parser.parse_args()
    stages.train(command_line.chosen(given, Settings), given.folder / "text-to-image", given.work)


if __name__ == "__main__":
    main()
