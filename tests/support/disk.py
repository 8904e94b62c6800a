"""Folders, and a disk that is full when a test says so."""

import errno
import os

from boostlm.storage import durable_files


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def full_disk(monkeypatch, call, after=0):
    """Makes an os function fail as on a full disk, after some calls."""
    real, calls = getattr(os, call), []

    def fail(*args):
        calls.append(args)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args)

    monkeypatch.setattr(durable_files.os, call, fail)
