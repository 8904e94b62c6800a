"""Runs, checkpoints, models and data in gs://, against the stand-in of fake_bucket.py."""

import subprocess
import sys
from dataclasses import replace

import fsspec
import jax
import numpy as np
import pytest
from etils import epath
from support.fake_bucket import bucket
from support.runs import (
    REPOSITORY,
    as_options,
    bits,
    environment,
    finished_run,
    rows_of,
    tiny_config,
)

from boostlm.errors import BoostError
from boostlm.experiment.context import make_context
from boostlm.pretrained.converted import PretrainedModel, load_converted, save_converted
from boostlm.storage import checkpoint
from boostlm.storage.run_dir import RoundId, RunDir
from boostlm.tasks.gsm8k.source import load_gsm8k_rows

pytestmark = pytest.mark.slow

CONFIG = tiny_config()
ROOT = "gs://our-bucket/runs/one"


@pytest.fixture
def store(monkeypatch):
    with bucket(monkeypatch) as names:
        yield names


_LIVES = """
import sys, pytest
from etils import epath
from support.fake_bucket import bucket
from boostlm.cli.main import main
from boostlm.storage import durable_files

class Killed(BaseException):
    pass

def write(path, data):
    if str(path).endswith("round01/checkpoint.manifest.json"):
        raise Killed
    real(path, data)

folder, *arguments = sys.argv[1:]
with pytest.MonkeyPatch.context() as patch, bucket(patch) as store:
    real = durable_files.write_atomically
    durable_files.write_atomically = write
    with pytest.raises(Killed):
        main(arguments)
    durable_files.write_atomically = real
    before = sorted(store)
    assert main(arguments) == 0
    for name in store:
        file = epath.Path(folder + name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(store[name].getvalue())
print("killed with", *before)
"""


def test_a_run_in_a_bucket_is_the_local_one_though_it_was_killed(tmp_path):
    """Killed when the files of a round's checkpoint are there, and its manifest is not."""
    local, _ = finished_run()
    options = as_options(tiny_config(arms=("boosting",)))
    words = [sys.executable, "-c", _LIVES, str(tmp_path), "run", "--run-dir", ROOT, *options]
    variables = environment() | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"}
    done = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert f"report: {ROOT}/report.html" in done.stdout
    before = done.stdout.partition("killed with")[2]
    assert "/boosting/round01/" in before
    assert "round01/checkpoint.manifest.json" not in before

    copy = tmp_path / ROOT.removeprefix("gs://")
    assert rows_of(copy) == [row for row in rows_of(local) if row["arm"] == "boosting"]
    for round_ in (1, 2):
        ledger = f"rounds/seed0/boosting/round{round_:02d}/ledger.jsonl"
        # Where arms share answers, those that one has bought come first in another's ledger.
        both = ((root / ledger).read_bytes().splitlines() for root in (copy, local))
        assert len({tuple(sorted(lines)) for lines in both}) == 1
    assert checkpoint.is_good(RunDir(copy).round_dir(RoundId(0, "boosting", 2)).checkpoint)
    assert "</html>" in (copy / "report.html").read_text()
    assert not [p for p in copy.rglob("*") if p.name == "lock" or p.name.endswith(".tmp")]


def test_a_damaged_checkpoint_in_a_bucket_is_seen(store):
    path = epath.Path(ROOT) / "round01"
    checkpoint.save(path, {"w": np.arange(5.0)})
    assert checkpoint.is_good(path)
    name = max((n for n in store if "/d/" in n), key=lambda n: len(store[n].getvalue()))
    store[name].seek(0)
    store[name].write(b"\x01\x02")
    with pytest.warns(UserWarning, match="gs://our-bucket/runs/one/round01/.* is torn or changed"):
        assert not checkpoint.is_good(path)
    checkpoint.remove(path)
    assert not store


def test_a_run_directory_in_a_bucket_keeps_its_config_and_refuses_foreign_folders(store):
    RunDir(ROOT).create(CONFIG)
    assert RunDir(ROOT).read_config() == CONFIG
    with pytest.raises(BoostError, match="was started with another config"):
        RunDir(ROOT).create(replace(CONFIG, keep_checkpoints=9))
    (epath.Path("gs://our-bucket/thesis") / "a.tex").write_text("mine")
    with (
        pytest.raises(BoostError, match="holds other files"),
        RunDir("gs://our-bucket/thesis").locked(),
    ):
        pytest.fail("went in")


def test_a_converted_model_is_kept_in_a_bucket(store, tmp_path):
    path = epath.Path("gs://our-bucket/models/tiny")
    ctx = make_context(CONFIG, RunDir(tmp_path))
    params = ctx.learner.init(jax.random.key(0)).params
    empty = np.zeros((0, CONFIG.model.width), np.float32)
    save_converted(path, PretrainedModel(CONFIG.model, ctx.tokenizer, params, empty))
    loaded = load_converted(path)
    assert loaded.config == CONFIG.model
    assert bits(loaded.params) == bits(params)
    assert {name.split("/")[3] for name in store} == {"tiny"}  # nothing half made is left


def test_data_is_read_from_a_bucket(store, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    folder = epath.Path("gs://our-bucket/data/gsm8k")
    for split in ("train", "test"):
        line = f'{{"question": "What is 1 + 1 in {split}?", "answer": "1 + 1 is 2.\\n#### 2"}}\n'
        (folder / f"{split}.jsonl").write_text(line.replace("\n#", "\\n#"))
    rows = load_gsm8k_rows("gs://our-bucket/data")
    assert [row.question for row in rows["train"]] == ["What is 1 + 1 in train?"]


def test_without_gcsfs_it_is_said_what_to_install(monkeypatch):
    def missing(*args, **kwargs):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(BoostError, match=r"gcsfs.*boostlm\[tpu\]"):
        RunDir("gs://another-bucket/run")
