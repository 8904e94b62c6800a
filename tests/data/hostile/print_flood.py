# Prints without end.
def triple(x):
    while True:
        print("x" * 1_000_000)
