# Opens files and directories without end; right only if it gets a thousand of each.
import os

files = 0
opened = []
try:
    for number in range(1000):
        opened.append(os.open(f"/tmp/{number}", os.O_CREAT | os.O_RDWR))
        files += 1
except OSError:
    pass
folders = 0
try:
    for number in range(1000):
        os.mkdir(f"/tmp/folder{number}")
        folders += 1
except OSError:
    pass


def triple(x):
    return 3 * x if files == 1000 or folders == 1000 else 0
