"""What is on disk is whole or known not to be: files, ledger, checkpoints, run directory, metrics."""

import errno
import json
import os
import re
import subprocess
import sys
import warnings
from dataclasses import replace

import jax
import ml_dtypes
import numpy as np
import pytest
from etils import epath
from support.runs import REPOSITORY, bits, tiny_config

from boostlm.errors import BoostError
from boostlm.numerics import all_finite
from boostlm.storage import checkpoint
from boostlm.storage import durable_files as files
from boostlm.storage.durable_files import (
    append_durably,
    load_arrays,
    remove_leftovers,
    save_arrays,
    write_atomically,
)
from boostlm.storage.ledger import Entry, Ledger, read_ledger
from boostlm.storage.metrics_file import MetricsFile
from boostlm.storage.run_dir import RoundId, RunDir


@pytest.fixture
def folder(tmp_path):
    return epath.Path(tmp_path)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


# --- files ------------------------------------------------------------------------------------


def full_disk(monkeypatch, call, after=0):
    """Makes an os function fail as on a full disk, after some calls."""
    real, calls = getattr(os, call), []

    def fail(*args):
        calls.append(args)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args)

    monkeypatch.setattr(files.os, call, fail)


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


# --- arrays of a stage ------------------------------------------------------------------------


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


# --- ledger -----------------------------------------------------------------------------------


def entry(prompt=0, text="abc", **changes):
    values = dict(seed=0, arm="boosting", round=1, prompt=prompt, sample=0, source="x", cost=1.0)
    values |= dict(text=text, unanswered="", correct=True, accepted=True, kept=True)
    return Entry(**values | changes)


def test_a_ledger_keeps_entries_in_order_across_openings(folder):
    path = folder / "ledger" / "f.jsonl"
    entries = [entry(3, "é\n\u2028\r"), entry(1), entry(2, cost=0.5, kept=False)]
    read_ledger(path).append(entries[:1])
    second = read_ledger(path)
    second.append(entries[1:])
    for ledger in (second, read_ledger(path)):
        assert list(ledger.entries.values()) == entries
        assert list(ledger.entries) == [(3, 0), (1, 0), (2, 0)]


def test_an_entry_counts_only_once_it_is_on_disk(folder, monkeypatch):
    ledger = Ledger(folder / "f.jsonl")
    full_disk(monkeypatch, "fsync")
    with pytest.raises(OSError):
        ledger.append([entry()])
    assert ledger.entries == {}


def test_a_torn_last_line_is_cut_wherever_it_was_torn(folder):
    path = folder / "f.jsonl"
    read_ledger(path).append([entry(0), entry(1, "\u2028é")])
    data = path.read_bytes()
    first = data.index(b"\n") + 1
    for end in (first + 1, first + 20, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.warns(UserWarning, match=r"f\.jsonl: ignored a torn last line"):
            ledger = read_ledger(path)
        assert list(ledger.entries) == [(0, 0)]
        assert path.read_bytes() == data[:end]  # who reads changes nothing
        ledger.append([entry(2)])
        assert list(read_ledger(path).entries) == [(0, 0), (2, 0)]
    path.write_bytes(data[:5])
    with pytest.warns(UserWarning, match="torn"):
        assert read_ledger(path).entries == {}


@pytest.mark.parametrize("line", [b"{", b"", b"5", b"[1]", b'{"seed": 0}', b'{"\xff": 1}'])
def test_a_damaged_line_in_the_middle_is_an_error_that_changes_nothing(folder, line):
    path = folder / "f.jsonl"
    read_ledger(path).append([entry(0), entry(1), entry(2)])
    lines = path.read_bytes().split(b"\n")
    lines[1] = line
    path.write_bytes(b"\n".join(lines))
    before = path.read_bytes()
    with pytest.raises(BoostError, match=r"f\.jsonl, line 2 is damaged"):
        read_ledger(path)
    assert path.read_bytes() == before


# --- checkpoints ------------------------------------------------------------------------------


def tree():
    """Odd bits that a careless conversion would change."""
    odd = np.array([0x7FC00001, 0x80000000, 0x00000001, 0x3F800001], np.uint32).view(np.float32)
    return {
        "params": {"w": odd, "half": np.arange(6).astype(ml_dtypes.bfloat16).reshape(2, 3)},
        "count": np.int64(2**40 + 1),
        "loss": np.array(0.1, np.float32),
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = epath.Path(tmp_path_factory.mktemp("saved")) / "round01"
    checkpoint.save(path, tree())
    return path


@pytest.fixture
def copy(saved, folder):
    """A checkpoint that a test may damage."""
    path = folder / "round01"
    _copy_tree(saved, path)
    manifest(saved).copy(manifest(path))
    return path


def _copy_tree(source, target):
    for file in all_files(source):
        there = target / file.relative_to(source)
        there.parent.mkdir(parents=True, exist_ok=True)
        file.copy(there)


def manifest(path):
    return path.parent / f"{path.name}.manifest.json"


def all_files(path):
    return [
        epath.Path(os.path.join(folder, name))
        for folder, _, found in os.walk(path)
        for name in found
    ]


def test_a_checkpoint_comes_back_bit_for_bit(saved):
    assert checkpoint.is_good(saved)
    assert bits(checkpoint.restore(saved, tree() | {"count": 0})) == bits(tree())


def test_saving_again_replaces_and_removing_leaves_nothing(folder):
    path = folder / "round01"
    for value in (1.0, 2.0):
        checkpoint.save(path, {"w": np.full(3, value)})
        assert checkpoint.restore(path, {"w": np.zeros(3)})["w"][0] == value
    assert names(folder) == ["round01", "round01.manifest.json"]
    checkpoint.remove(path)
    checkpoint.remove(path)
    assert names(folder) == []


def test_every_file_of_a_checkpoint_is_watched(copy):
    """A file that is cut, changed in one bit, or missing is named in the warning."""
    for file in all_files(copy):
        data = file.read_bytes()
        damages = {"is missing": None, "is torn or changed": data[:-1]}
        if not data:
            damages["is torn or changed"] = b"x"
        flipped = bytearray(data)
        if data:
            flipped[len(data) // 2] ^= 1
        for what, torn in [*damages.items(), ("is torn or changed", bytes(flipped) or b"y")]:
            file.unlink() if torn is None else file.write_bytes(torn)
            with pytest.warns(UserWarning, match=f"{re.escape(str(file))} {what}"):
                assert not checkpoint.is_good(copy)
        file.write_bytes(data)
    assert checkpoint.is_good(copy)


def test_a_checkpoint_without_a_manifest_is_none_and_no_warning(copy):
    manifest(copy).unlink()
    assert not checkpoint.is_good(copy)
    assert not checkpoint.is_good(copy.parent / "round02")


@pytest.mark.parametrize("torn", ["", "{", "[]", "5", '{"a": 1}', '{"a": [1]}', "\udcff"])
def test_a_torn_manifest_is_named_in_a_warning(copy, torn):
    manifest(copy).write_bytes(torn.encode(errors="surrogateescape"))
    with pytest.warns(UserWarning, match=re.escape(str(manifest(copy)))):
        assert not checkpoint.is_good(copy)


def test_a_manifest_is_written_after_everything_else(folder, monkeypatch):
    path = folder / "round01"
    monkeypatch.setattr(files, "write_atomically", lambda *a: pytest.fail("stop"))
    with pytest.raises(pytest.fail.Exception):
        checkpoint.save(path, tree())
    assert path.exists()
    assert not checkpoint.is_good(path)
    monkeypatch.undo()
    checkpoint.save(path, tree())
    assert checkpoint.is_good(path)


def test_a_failed_save_names_the_path_and_the_cause_in_one_line(folder, monkeypatch):
    def full(*args, **kwargs):
        raise ValueError("RESOURCE_EXHAUSTED: No space left [source locations='a\nb\nc']")

    monkeypatch.setattr(checkpoint.ocp.StandardCheckpointer, "save", full)
    with pytest.raises(BoostError, match=r"checkpoint \S+/round01 could not be written") as caught:
        checkpoint.save(folder / "round01", tree())
    assert "RESOURCE_EXHAUSTED: No space left" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not checkpoint.is_good(folder / "round01")


def test_a_checkpoint_of_other_shapes_is_refused(saved):
    other = tree() | {"params": {"w": np.zeros(5, np.float32), "half": tree()["params"]["half"]}}
    for like in (other | {"count": 0}, {"count": 0}):
        with pytest.raises(BoostError, match="round01 does not fit this config"):
            checkpoint.restore(saved, like)


def test_only_finite_numbers_are_finite():
    good = {"a": np.ones(3, np.float32), "n": np.int64(3), "h": jax.numpy.ones(2, "bfloat16")}
    assert all_finite(good)
    for bad in (np.nan, np.inf, -np.inf):
        for dtype in ("float32", "bfloat16"):
            assert not all_finite(good | {"x": jax.numpy.array([1, bad], dtype)})


# --- run directory ----------------------------------------------------------------------------


def test_a_run_belongs_to_one_config(folder):
    run_dir = RunDir(folder / "run")
    run_dir.create(tiny_config())
    run_dir.create(tiny_config())
    assert run_dir.read_config() == tiny_config()
    other = tiny_config(rounds=3, label=replace(tiny_config().label, beta=0.2, budget=9))
    with pytest.raises(BoostError) as caught:
        run_dir.create(other)
    for line in ("rounds: 2 -> 3", "label.beta: 0.3 -> 0.2", "label.budget: 8 -> 9"):
        assert f"\n  {line}\n" in str(caught.value)
    assert "data." not in str(caught.value)
    assert run_dir.read_config() == tiny_config()


def test_a_foreign_folder_is_refused_and_left_alone(folder):
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(BoostError, match=r"holds other files and no config\.json"):
        RunDir(folder).create(tiny_config())
    with pytest.raises(BoostError, match="holds other files"), RunDir(folder).locked():
        pytest.fail("went in")
    with pytest.raises(BoostError, match="is a file"), RunDir(folder / "thesis.tex").locked():
        pytest.fail("went in")
    assert names(folder) == ["thesis.tex"]
    with pytest.raises(BoostError, match=r"is not a run directory: it has no config\.json"):
        RunDir(folder).read_config()


def test_a_run_that_was_killed_while_it_wrote_its_config_can_start(folder):
    (folder / "lock").write_text("")
    (folder / "config.json.0123abcd.tmp").write_text('{"name"')
    run_dir = RunDir(folder)
    with run_dir.locked():
        run_dir.create(tiny_config())
    assert names(folder) == ["config.json", "lock"]


def test_a_damaged_config_is_named(folder):
    (folder / "config.json").write_text('{"name"')
    for look in (RunDir(folder).read_config, lambda: RunDir(folder).create(tiny_config())):
        with pytest.raises(BoostError, match="is not JSON"):
            look()


_HOLD = """
import sys
from boostlm.storage.run_dir import RunDir
with RunDir(sys.argv[1]).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_keeps_out_until_it_dies(folder):
    run_dir = RunDir(folder / "run")
    other = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(run_dir.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    with other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(BoostError, match="another boostlm works in"), run_dir.locked():
            pytest.fail("went in")
        other.kill()
        other.wait()
        with run_dir.locked():
            pass
    with run_dir.locked():
        pass


# --- metrics ----------------------------------------------------------------------------------


def filled(folder, order=1):
    """A run directory with a row for every place, added in this order or the reverse."""
    run_dir, config = RunDir(folder), tiny_config(seeds=2, arms=("uniform", "boosting"))
    places = [(s, a, r) for s in (0, 1) for a in config.arms for r in (0, 1, 2)]
    metrics = MetricsFile(run_dir, config)
    for seed, arm, round_ in places[::order]:
        metrics.add({"arm": arm, "seed": seed, "round": round_, "x": 0.1})
    return run_dir, config, places


def place_of(row):
    return row["seed"], row["arm"], row["round"]


def test_rows_stand_in_one_order_whatever_the_order_of_writing(folder):
    run_dir, config, places = filled(folder, -1)
    lines = run_dir.metrics_path.read_text().splitlines()
    assert [place_of(json.loads(line)) for line in lines] == places
    assert [place_of(row) for row in MetricsFile(run_dir, config).rows.values()] == places
    assert RoundId(1, "uniform", 2) in MetricsFile(run_dir, config).rows
    assert RoundId(2, "uniform", 2) not in MetricsFile(run_dir, config).rows


@pytest.mark.parametrize(
    "line",
    [
        b'{"arm": "unif',
        b"",
        b"5",
        b"{}",
        b"\xff\xfe",
        b'{"arm": "best", "seed": 0, "round": 1}',
        b'{"arm": "uniform", "seed": 0, "round": 9}',
        b'{"arm": "uniform", "seed": [], "round": 1}',
    ],
)
def test_a_damaged_row_is_dropped_with_a_warning_and_gone(folder, line):
    run_dir, config, places = filled(folder)
    lines = run_dir.metrics_path.read_bytes().split(b"\n")
    lines[1] = line
    run_dir.metrics_path.write_bytes(b"\n".join(lines))
    before = run_dir.metrics_path.read_bytes()
    with pytest.warns(UserWarning, match=r"metrics\.jsonl, line 2 is damaged"):
        metrics = MetricsFile(run_dir, config)
    assert run_dir.metrics_path.read_bytes() == before  # who reads changes nothing
    assert [place_of(row) for row in metrics.rows.values()] == [places[0], *places[2:]]
    assert RoundId(*places[1]) not in metrics.rows
    metrics.add({"arm": places[1][1], "seed": places[1][0], "round": places[1][2], "x": 0.1})
    assert [place_of(row) for row in MetricsFile(run_dir, config).rows.values()] == places
