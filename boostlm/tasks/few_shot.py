"""Few-shot examples from text files: what stands before every prompt, exactly as in the file."""

import re
from importlib import resources

from etils import epath

from boostlm.errors import BoostError

_PACKAGED = resources.files("boostlm.tasks") / "prompts"


def load_few_shot(name: str, example: str, separator: str) -> str:
    """The text that stands before every prompt.

    Args:
      name: of a packaged file in `boostlm/tasks/prompts`, or the path of another; "" for none.
      example: a regular expression that each example has to match; "." matches line breaks.
      separator: what every example ends with, the last one too, as the prompt follows it.

    Raises:
      BoostError: the file is missing, empty or no UTF-8, or its examples do not look as they
        should; says which one.
    """
    if not name:
        return ""
    packaged = sorted(file.name for file in _PACKAGED.iterdir() if file.name.endswith(".txt"))
    file = _PACKAGED / name if name in packaged else epath.Path(name).expanduser()
    if not file.is_file():
        raise BoostError(
            f"data.few_shot: there is no file {name}; name one of your own or a packaged one "
            f"({', '.join(packaged)})"
        )
    try:
        text = file.read_bytes().decode().replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BoostError(f"data.few_shot: {name} cannot be read: {error}") from error
    if not text.strip():
        raise BoostError(f"data.few_shot: {name} is empty")
    if not text.endswith(separator):
        raise BoostError(
            f"data.few_shot: {name} ends with {text[-len(separator) :]!r}; every example, the last "
            f"one too, has to end with {separator!r}, as the prompt comes next"
        )
    for number, part in enumerate(text.removesuffix(separator).split(separator), start=1):
        if not re.fullmatch(example, part, re.DOTALL):
            raise BoostError(
                f"data.few_shot: example {number} of {name} has not the form of this task's "
                f"prompts and responses, as in the packaged file: {part[:60]!r}"
            )
    return text
