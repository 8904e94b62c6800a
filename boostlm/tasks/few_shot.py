"""Loads few-shot examples from text files. They precede every prompt, unchanged."""

import re
from importlib import resources

from boostlm.errors import BoostError
from boostlm.user_code import open_path

_PACKAGED = resources.files("boostlm.tasks") / "prompts"


def load_few_shot(name: str, example: str, separator: str) -> str:
    """The few-shot text that precedes every prompt.

    Args:
      name: the name of a packaged file in `boostlm/tasks/prompts`, or a path; "" for none.
      example: a regular expression that each example must match. "." matches line breaks.
      separator: the string that ends every example, including the last one.

    Raises:
      BoostError: the file is missing, empty or not UTF-8, or an example does not match. The
        message names the example.
    """
    if not name:
        return ""
    packaged = sorted(file.name for file in _PACKAGED.iterdir() if file.name.endswith(".txt"))
    file = _PACKAGED / name if name in packaged else open_path(name, "data.few_shot")
    if not file.is_file():
        raise BoostError(
            f"data.few_shot: the file {name} does not exist. Use your own or a packaged one "
            f"({', '.join(packaged)})"
        )
    try:
        text = file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BoostError(f"data.few_shot: {name} cannot be read: {error}") from error
    if not text.strip():
        raise BoostError(f"data.few_shot: {name} is empty")
    if not text.endswith(separator):
        raise BoostError(
            f"data.few_shot: {name} ends with {text[-len(separator) :]!r}. Every example, "
            f"including the last one, must end with {separator!r}"
        )
    for number, part in enumerate(text.removesuffix(separator).split(separator), start=1):
        if not re.fullmatch(example, part, re.DOTALL):
            raise BoostError(
                f"data.few_shot: example {number} of {name} does not have the format of this "
                f"task's prompts and responses (see the packaged file): {part[:60]!r}"
            )
    return text
