# Source text so deeply nested that the compiler gives up.
source = "(" * 100_000 + ")" * 100_000


def triple(x):
    eval(source)
    return 0
