# Returns a small structure that is huge when written out.
def triple(x):
    value = 0
    for _ in range(45):
        value = [value, value]
    return value
