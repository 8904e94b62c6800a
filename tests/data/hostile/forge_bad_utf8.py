# Sends bytes that are no text, with a valid result among them.
import os


def triple(x):
    os.write(3, b'\xff\xfe["ok","",true,true,true]\x00\x80')
    os._exit(0)
