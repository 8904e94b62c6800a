"""Checkpoints come back bit for bit, and damage to them is named."""

import os
import re

import ml_dtypes
import numpy as np
import pytest
from etils import epath
from support.disk import names
from support.runs import bits

from boostlm.errors import BoostError
from boostlm.storage import checkpoint
from boostlm.storage import durable_files as files


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
        with pytest.raises(BoostError, match="round01 does not match this config"):
            checkpoint.restore(saved, like)
