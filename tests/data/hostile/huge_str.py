# Returns a string longer than may be returned.
def triple(x):
    return "\x00" * 1_000_000
