# Returns a set of integers that share one hash, to stall whoever builds it again.
def triple(x):
    return {i * (2**61 - 1) for i in range(1, 3_000)}
