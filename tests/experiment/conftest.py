"""One run that nothing interrupted, to compare with."""

import shutil

import pytest
from support.lives import CONFIG, live, outcome
from support.runs import on_one_device

from boostlm.experiment.context import make_context
from boostlm.labelers import simulated
from boostlm.storage.run_dir import RunDir


@pytest.fixture(scope="session")
def ctx(tmp_path_factory):
    """One device, compiled once for all runs of these tests."""
    return on_one_device(make_context(CONFIG, RunDir(tmp_path_factory.mktemp("ctx"))))


@pytest.fixture
def small_chunks(monkeypatch):
    """Several commits of labels a round."""
    monkeypatch.setattr(simulated, "_AT_ONCE", 3)


@pytest.fixture(scope="session")
def whole(ctx, tmp_path_factory):
    """(folder, outcome) of a run that nothing interrupted. Read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulated, "_AT_ONCE", 3)
        root = tmp_path_factory.mktemp("whole")
        live(ctx, root)
    return root, outcome(ctx, root)


@pytest.fixture
def copy(whole, tmp_path):
    """A finished run that a test may damage."""
    shutil.copytree(whole[0], tmp_path / "run")
    return tmp_path / "run"
