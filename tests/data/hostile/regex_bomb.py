# A regular expression that backtracks for ever, inside C code.
import re


def triple(x):
    return len(re.findall(r"^(a+)+$", "a" * 60 + "b"))
