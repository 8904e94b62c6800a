"""Files and arrays on disk are whole, or known not to be."""

import os
import re
import warnings

import numpy as np
import pytest
from support.disk import full_disk, names
from support.runs import bits

from boostlm.storage import durable_files as files
from boostlm.storage.durable_files import (
    append_durably,
    load_arrays,
    remove_leftovers,
    save_arrays,
    write_atomically,
)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("old", [b"old", None])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(folder, monkeypatch, call, old):
    path = folder / "f"
    if old is not None:
        path.write_bytes(old)
    full_disk(monkeypatch, call)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert names(folder) == ([] if old is None else ["f"])
    assert old is None or path.read_bytes() == old


@pytest.mark.parametrize("write", [write_atomically, append_durably])
def test_the_error_of_a_full_disk_names_the_file(folder, monkeypatch, write):
    full_disk(monkeypatch, "fsync")
    with pytest.raises(OSError) as caught:
        write(folder / "f", b"new\n")
    assert caught.value.filename == str(folder / "f")


def test_a_write_makes_folders_replaces_and_is_on_disk_before_it_is_seen(folder, monkeypatch):
    path = folder / "a" / "b" / "f"
    done = []
    for call in ("fsync", "replace"):
        real = getattr(os, call)
        monkeypatch.setattr(
            files.os, call, lambda *a, real=real, call=call: (done.append(call), real(*a))[1]
        )
    for data in (b"one", b"two"):
        write_atomically(path, data)
        assert path.read_bytes() == data
    assert done == ["fsync", "replace", "fsync"] * 2  # the data, its name, the folder
    assert names(path.parent) == ["f"]


def test_appending_waits_for_the_disk_and_keeps_what_was_there(folder, monkeypatch):
    synced, real = [], os.fsync
    monkeypatch.setattr(files.os, "fsync", lambda fd: (synced.append(fd), real(fd)))
    path = folder / "f"
    append_durably(path, b"one\n")
    assert len(synced) == 2  # the data, and the folder since the file is new
    append_durably(path, b"two\n")
    assert len(synced) == 3
    assert path.read_bytes() == b"one\ntwo\n"


def test_what_kills_left_is_removed_and_nothing_else(folder, monkeypatch):
    monkeypatch.setattr(files.os, "unlink", lambda path: None)  # as if killed: no time to clean up
    with monkeypatch.context() as failing:
        full_disk(failing, "replace")
        with pytest.raises(OSError):
            write_atomically(folder / "deep" / "f", b"data")
    monkeypatch.undo()
    assert len(names(folder / "deep")) == 1
    write_atomically(folder / "deep" / "g", b"data")
    remove_leftovers(folder)
    assert names(folder / "deep") == ["g"]


def test_arrays_come_back_as_they_were_and_a_missing_file_is_none(folder):
    arrays = {"a": np.arange(5, dtype=np.int32), "b": np.array([[True, False]])}
    save_arrays(folder / "x.npz", **arrays)
    assert bits(load_arrays(folder / "x.npz")) == bits(arrays)
    assert load_arrays(folder / "y.npz") is None


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damaged_arrays_are_none_with_a_warning_or_still_the_same(folder, damage):
    """At every byte; some bytes of a zip file, such as time stamps, mean nothing."""
    arrays = {"correct": np.array([[True, False]]), "accepted": np.array([[True, True]])}
    path = folder / "x.npz"
    save_arrays(path, **arrays)
    data = path.read_bytes()
    found = 0
    for place in range(len(data)):
        torn = bytearray(data)
        if damage == "cut":
            del torn[place:]
        else:
            torn[place] ^= 1 << place % 8
        path.write_bytes(bytes(torn))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loaded = load_arrays(path, tuple(arrays))
        if loaded is None:
            assert re.search(r"x\.npz is torn", str(caught[0].message))
            found += 1
        else:
            assert bits(loaded) == bits(arrays)
    assert found == len(data) if damage == "cut" else found > len(data) / 2
