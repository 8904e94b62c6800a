# Turns an enormous number into decimal digits.
import sys


def triple(x):
    sys.set_int_max_str_digits(0)
    return len(str(1 << 60_000_000))
