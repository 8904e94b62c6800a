# Returns numbers that are almost right.
def triple(x):
    return 3 * x + 1e-9
