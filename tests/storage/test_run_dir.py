"""A run directory belongs to one config and one process."""

import subprocess
import sys
from dataclasses import replace

import pytest
from support.disk import names
from support.runs import REPOSITORY, tiny_config

from boostlm.errors import BoostError
from boostlm.storage.run_dir import RunDir


def test_a_run_belongs_to_one_config(folder):
    run_dir = RunDir(folder / "run")
    run_dir.create(tiny_config())
    run_dir.create(tiny_config())
    assert run_dir.read_config() == tiny_config()
    other = tiny_config(rounds=1, label=replace(tiny_config().label, beta=0.2, budget=9))
    with pytest.raises(BoostError) as caught:
        run_dir.create(other)
    for line in ("rounds: 2 -> 1", "label.beta: 0.3 -> 0.2", "label.budget: 8 -> 9"):
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
