"""A path that this machine cannot open is one error, which names the setting and what to install."""

import importlib.metadata
import os

import fsspec
import pytest
from etils import epath
from etils.epath import backend
from support import gsm8k
from support.runs import tiny_config

from boostlm import user_code
from boostlm.cli.main import main
from boostlm.config import DataConfig, LabelConfig, SeedModelConfig
from boostlm.errors import BoostError
from boostlm.experiment.context import assemble
from boostlm.storage.run_dir import RunDir
from boostlm.tasks.gsm8k.source import load_gsm8k_rows
from boostlm.tasks.mbpp.source import load_problems
from boostlm.tasks.skills import SkillsTask
from boostlm.user_code import open_path

SCHEMES = {
    "gs": r"gcsfs.*boostlm\[tpu\]",
    "s3": "pip install s3fs",
    "az": "pip install adlfs",
    "hf": "pip install huggingface_hub",
    "ftp": "name a local path without ://, or one in gs://, s3://, az://, hf://",
    "GS": "name a local path",
    "file": "name a local path",
    "": "name a local path",
}


@pytest.fixture(autouse=True)
def no_packages(monkeypatch):
    """None of the packages that read buckets is installed."""

    def missing(name, **kwargs):
        raise ImportError(f"Please install the package of {name}")

    backend.fsspec_backend._get_filesystem.cache_clear()
    monkeypatch.setattr(fsspec, "filesystem", missing)


def with_data_dir(path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", path)


ENTRIES = {
    "run directory": ("", lambda path, _: RunDir(path)),
    "TFDS_DATA_DIR, download": (
        "TFDS_DATA_DIR: ",
        lambda path, m: (with_data_dir(path, m), load_gsm8k_rows()),
    ),
    "TFDS_DATA_DIR, local files": (
        "TFDS_DATA_DIR: ",
        lambda path, m: (with_data_dir(path, m), load_gsm8k_rows(str(gsm8k.FIXTURES))),
    ),
    "TFDS_DATA_DIR, MBPP": (
        "TFDS_DATA_DIR: ",
        lambda path, m: (with_data_dir(path, m), load_problems()),
    ),
    "data.path": ("data.path: ", lambda path, _: load_gsm8k_rows(path)),
    "data.few_shot": (
        "data.few_shot: ",
        lambda path, _: gsm8k.gsm8k.Gsm8kTask(
            gsm8k.fixture_rows(), DataConfig(task="gsm8k", few_shot=path)
        ),
    ),
    "seed_model.path": (
        "seed_model.path: ",
        lambda path, _: assemble(
            tiny_config(seed_model=SeedModelConfig(path=path)), SkillsTask(DataConfig())
        ),
    ),
}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("entry", ENTRIES)
def test_every_setting_that_is_a_path(entry, scheme, monkeypatch):
    setting, enter = ENTRIES[entry]
    path = f"{scheme}://bucket/folder"
    with pytest.raises(BoostError, match=SCHEMES[scheme]) as error:
        enter(path, monkeypatch)
    assert str(error.value).startswith(f"{setting}{path} cannot be opened")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "scheme", ["gs", *(pytest.param(s, marks=pytest.mark.slow) for s in ("s3", "hf", "ftp"))]
)
@pytest.mark.parametrize(
    ("words", "setting"),
    [
        (["run", "{}/config.py"], "config: "),
        (["run", "--run-dir", "{}/run"], ""),
        (["run", "--data.task", "{}/task.py:Mine"], "data.task: "),
        (["run", "--data.task=gsm8k", "--data.path={}"], "data.path: "),
        (["run", "--seed_model.path", "{}"], "seed_model.path: "),
        (["report", "{}/run"], ""),
        (["eval", "{}/run"], ""),
        (["export", "{}/run"], ""),
        (["plan", "{}/run"], ""),
        (["label", "{}/run"], ""),
        (["label", "RUN", "--from", "{}/mine.csv"], "--from: "),
        (["convert", "{}/model", "out"], ""),
        (["convert", "model", "{}/out"], ""),
        (["convert", "RUN", "{}/out", "--to", "huggingface"], ""),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_every_command_that_takes_a_path(words, setting, scheme, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    RunDir(tmp_path / "RUN").create(tiny_config(label=LabelConfig(labeler="people", budget=4)))
    status = main([word.format(f"{scheme}://bucket") for word in words])
    err = capsys.readouterr().err
    assert status == 2, err
    said = [line for line in err.splitlines() if line.startswith("boostlm: ")]
    assert said[-1].startswith(f"boostlm: {setting}{scheme}://bucket")
    assert "cannot be opened" in said[-1]
    assert "Traceback" not in err


@pytest.mark.parametrize("error", [OSError("no answer"), RuntimeError("no key"), KeyError("x")])
def test_a_bucket_that_does_not_answer_is_named(error, monkeypatch):
    def fails(*args, **kwargs):
        raise error

    monkeypatch.setattr(fsspec, "filesystem", fails)
    with pytest.raises(BoostError, match=rf"gs://b/x cannot be opened \({type(error).__name__}: "):
        open_path("gs://b/x")


@pytest.mark.parametrize("path", ["a", "a/b", "/a", ".", "a:b", "gs:/a", "./s3:/x", "~/x"])
def test_local_paths_are_opened_wherever_they_point(path):
    assert open_path(path) == epath.Path(os.path.expanduser(path))


def test_what_is_named_to_install_is_what_the_extra_holds():
    needs = importlib.metadata.requires("boostlm") or []
    if not needs:
        pytest.skip("boostlm is not installed as a package here")
    assert any(need.startswith("gcsfs") and "tpu" in need for need in needs)
    assert "boostlm[tpu]" in user_code._READERS["gs"]
