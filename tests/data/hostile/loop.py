# Loops for ever.
def triple(x):
    while True:
        pass
