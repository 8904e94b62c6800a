"""The verifiers that data.verifier names."""

from boostlm.errors import BoostError
from boostlm.user_code import FILE_AND_NAME
from boostlm.verifiers.base import Verifier


def verifier_of(name: str) -> Verifier:
    """The verifier of this name, or of FILE.py:NAME.

    Raises:
      BoostError: the name is unknown, or the file is not usable.
    """
    # Imported only where they are used: each has packages of its own.
    if name == "number":
        from boostlm.verifiers.number.verifier import NUMBER as verifier
    elif name == "text":
        from boostlm.verifiers.text import TEXT as verifier
    elif name == "choice":
        from boostlm.verifiers.choice import CHOICE as verifier
    elif name == "regex":
        from boostlm.verifiers.regex import REGEX as verifier
    elif name == "math":
        from boostlm.verifiers.math_answer import MATH as verifier
    elif name == "expression":
        from boostlm.verifiers.expression import EXPRESSION as verifier
    elif FILE_AND_NAME.fullmatch(name):
        from boostlm.verifiers.own_function import own_verifier

        verifier = own_verifier(name)
    else:
        raise BoostError(f"data.verifier: {name!r} is unknown")  # `validate` lists the names
    return verifier
