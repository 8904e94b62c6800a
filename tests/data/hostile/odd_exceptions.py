# Raises an exception whose own text raises, and whose class is not what it seems.
class Odd(BaseException):
    def __str__(self):
        raise Odd

    __repr__ = __str__

    def __eq__(self, other):
        return True

    __hash__ = None


def triple(x):
    raise Odd from Odd()
