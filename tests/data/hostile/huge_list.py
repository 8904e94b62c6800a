# Returns more values than may be returned.
def triple(x):
    return [0] * 2_000_000
