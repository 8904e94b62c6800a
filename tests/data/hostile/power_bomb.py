# An arithmetic operation that runs for ever, inside C code.
def triple(x):
    return 7 ** (10**9) % 10
