# Loops for ever before it defines anything, and swallows every exception.
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
