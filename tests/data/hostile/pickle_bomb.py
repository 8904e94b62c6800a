# Returns an object that runs a command in whoever unpickles or copies it.
import os


class Bomb:
    def __reduce__(self):
        return (os.system, ("touch @MARK@",))

    def __reduce_ex__(self, protocol):
        return self.__reduce__()

    __getstate__ = __reduce__


def triple(x):
    return Bomb()
