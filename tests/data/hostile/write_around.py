# Leaves files in the working directory, the home directory, the root and the repository.
import os


def triple(x):
    places = (".", "..", "/", "/root", "/home", "/run", "/etc", "/var", "@REPO@", "@HOME@")
    for place in places:
        try:
            os.makedirs(place, exist_ok=True)
            with open(os.path.join(place, "@NAME@"), "w") as f:
                f.write("here")
        except OSError:
            pass
    return 0
