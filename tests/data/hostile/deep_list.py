# Returns a list nested a hundred thousand deep.
def triple(x):
    value = []
    for _ in range(100_000):
        value = [value]
    return value
