# Returns an integer with millions of digits.
def triple(x):
    return 1 << 50_000_000
