"""GSM8K: rows from local files, from the cache and from the download."""

import os
import subprocess
import sys
import time

import pytest
import requests
import tensorflow_datasets as tfds
from support.data_sets import REPOSITORY
from support.gsm8k import FIXTURES, config, fixture_rows
from tensorflow_datasets.text import gsm8k as tfds_gsm8k

from boostlm.errors import BoostError
from boostlm.tasks import tfds_data as prepared
from boostlm.tasks.gsm8k import task as gsm8k
from boostlm.tasks.gsm8k.source import LocalGsm8k, load_gsm8k_rows


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    """A tensorflow-datasets folder for one test."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


@pytest.fixture
def files(tmp_path):
    """A copy of the fixtures that tests may change."""
    folder = tmp_path / "files"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_bytes((FIXTURES / f"{split}.jsonl").read_bytes())
    return folder


# --- local files ------------------------------------------------------------------------------


def refuse(*args, **kwargs):
    raise AssertionError("prepared again")


def caches(data_dir):
    return sorted((data_dir / "boostlm").glob("gsm8k-*"))


def leftovers(data_dir):
    return sorted((data_dir / "boostlm").glob("incomplete-*"))


def test_path_may_be_the_folder_or_the_one_above(files):
    above = load_gsm8k_rows(str(FIXTURES.parent))
    assert {s: sorted(above[s]) for s in above} == {
        s: sorted(rows) for s, rows in fixture_rows().items()
    }
    assert load_gsm8k_rows(str(files)) == above


def test_second_load_reads_the_cache(monkeypatch, data_dir, capsys):
    first = load_gsm8k_rows(str(FIXTURES))
    assert capsys.readouterr().out == ""  # nothing may mix with the command line's output
    assert len(caches(data_dir)) == 1
    assert not leftovers(data_dir)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    monkeypatch.setattr(prepared, "_new_folder", refuse)  # a cache may be read-only
    assert load_gsm8k_rows(str(FIXTURES)) == first


def test_changed_files_are_never_stale(files, data_dir):
    load_gsm8k_rows(str(files))
    target = files / "test.jsonl"
    target.write_text(target.read_text("utf-8").replace("#### 101", "#### 102"), "utf-8")
    assert any(row.answer.endswith("#### 102") for row in load_gsm8k_rows(str(files))["test"])
    assert len(caches(data_dir)) == 2


def drop_info(cache):
    next(cache.rglob("dataset_info.json")).unlink()


def drop_records(cache):
    next(cache.rglob("*train.array_record*")).unlink()


def cut_records(cache):
    file = next(cache.rglob("*train.array_record*"))
    file.write_bytes(file.read_bytes()[:2000])


def empty_folder(cache):
    for file in sorted(cache.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()


def other_data(cache):
    swapped = {"train.jsonl": FIXTURES / "test.jsonl", "test.jsonl": FIXTURES / "train.jsonl"}
    cache.rename(cache.parent / "away")
    LocalGsm8k(files=swapped, data_dir=cache).download_and_prepare(file_format="array_record")


@pytest.mark.parametrize("damage", [drop_info, drop_records, cut_records, empty_folder, other_data])
def test_damaged_cache_is_prepared_again(data_dir, monkeypatch, damage):
    expected = load_gsm8k_rows(str(FIXTURES))
    damage(caches(data_dir)[0])
    assert load_gsm8k_rows(str(FIXTURES)) == expected
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    assert load_gsm8k_rows(str(FIXTURES)) == expected


CHILD = """
import os, pathlib, random, sys, time
from boostlm.tasks.gsm8k import source as gsm8k_source
how, folder, go = sys.argv[1:]
if how == "killed while generating":
    generate = gsm8k_source.LocalGsm8k._generate_examples
    def broken(self, path):
        for i, example in enumerate(generate(self, path)):
            if i == 3:
                os._exit(9)
            yield example
    gsm8k_source.LocalGsm8k._generate_examples = broken
if how == "killed when prepared":
    prepare = gsm8k_source.LocalGsm8k.download_and_prepare
    def broken(self, **kwargs):
        prepare(self, **kwargs)
        os._exit(9)
    gsm8k_source.LocalGsm8k.download_and_prepare = broken
if how == "race":
    random.seed(0)  # tensorflow-datasets names temporary folders with this generator
    pathlib.Path(go + "." + str(os.getpid())).touch()
    while not os.path.exists(go):
        time.sleep(0.001)
rows = gsm8k_source.load_gsm8k_rows(folder)
print(len(rows["train"]), len(rows["test"]))
"""


def child(how, files, data_dir, go=""):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CHILD, how, str(files), str(go)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("how", ["killed while generating", "killed when prepared"])
def test_killed_half_way(files, data_dir, how):
    process = child(how, files, data_dir)
    process.communicate(timeout=120)
    assert process.returncode == 9
    assert not caches(data_dir)
    assert leftovers(data_dir)
    assert [len(rows) for rows in load_gsm8k_rows(str(files)).values()] == [40, 12]
    assert len(caches(data_dir)) == 1


@pytest.mark.slow
def test_two_processes_at_once(files, data_dir, tmp_path, monkeypatch):
    go = tmp_path / "go"
    processes = [child("race", files, data_dir, go) for _ in range(2)]
    while len(list(tmp_path.glob("go.*"))) < 2:
        assert all(p.poll() is None for p in processes), processes[0].communicate()
        time.sleep(0.01)
    go.touch()
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert out == "40 12\n", err
    assert len(caches(data_dir)) == 1
    assert not leftovers(data_dir)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    load_gsm8k_rows(str(files))


def test_second_process_keeps_the_cache_of_the_first(files, data_dir, monkeypatch):
    prepare = LocalGsm8k.download_and_prepare
    mark = []

    def slower(self, **kwargs):
        prepare(self, **kwargs)
        if not mark:  # another process finishes preparing in the meantime
            mark.append(None)
            load_gsm8k_rows(str(files))
            mark.append(caches(data_dir)[0].stat().st_ino)

    monkeypatch.setattr(LocalGsm8k, "download_and_prepare", slower)
    assert len(load_gsm8k_rows(str(files))["train"]) == 40
    assert caches(data_dir)[0].stat().st_ino == mark[1]
    assert not leftovers(data_dir)


def test_files_that_change_while_being_read(files, monkeypatch, data_dir):
    find = prepared._read_bytes
    monkeypatch.setattr(
        prepared, "_read_bytes", lambda file: find(file).replace(b"#### 101", b"#### 102")
    )
    with pytest.raises(BoostError, match="changed while being read"):
        load_gsm8k_rows(str(files))
    assert not caches(data_dir)
    assert not leftovers(data_dir)


def test_unwritable_folder(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "file" / "tfds"))
    for path in (str(FIXTURES), ""):
        with pytest.raises(BoostError, match=r"cannot be written .*set TFDS_DATA_DIR"):
            load_gsm8k_rows(path)


def test_full_disk(monkeypatch, data_dir):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", full)
    with pytest.raises(BoostError, match=r"No space left.*set TFDS_DATA_DIR"):
        load_gsm8k_rows(str(FIXTURES))
    assert not leftovers(data_dir)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lines: [*lines[:2], '{"question": "Wh', *lines[3:]], "line 3 is not JSON"),
        (lambda lines: [lines[0], "", *lines[1:]], "line 2 is not JSON"),
        (lambda lines: ["[1]", *lines], "line 1 is not a JSON object"),
        (lambda lines: [*lines, '{"question": "How?"}'], "line 13: the field 'answer' is missing"),
        (lambda lines: ['{"answer": "#### 1"}', *lines], "line 1: the field 'question' is missing"),
        (
            lambda lines: ['{"question": 7, "answer": "#### 1"}', *lines],
            "line 1: the field 'question'",
        ),
        (
            lambda lines: ['{"question": "How?", "answer": "#### 4", "id": 1}', *lines],
            "line 1 has more fields",
        ),
        (
            lambda lines: ['{"question": "How?", "answer": "It is 4."}', *lines],
            "line 1: the answer must contain '#### ' once",
        ),
        (
            lambda lines: ['{"question": "How?", "answer": "#### 4\\n#### 4"}', *lines],
            "line 1: the answer must contain '#### ' once",
        ),
        (
            lambda lines: ['{"question": "How?", "answer": "It is 4.\\n#### four"}', *lines],
            "line 1: the answer .* a number at the end",
        ),
        (lambda lines: [*lines, lines[4]], "line 13 asks the same .* as .*test.jsonl, line 5"),
        (lambda lines: [], "test.jsonl is empty"),
        (lambda lines: ["", ""], "test.jsonl is empty"),
    ],
)
def test_malformed_files(files, data_dir, spoil, message):
    target = files / "test.jsonl"
    target.write_text("\n".join(spoil(target.read_text("utf-8").splitlines())) + "\n", "utf-8")
    with pytest.raises(BoostError, match=message) as caught:
        load_gsm8k_rows(str(files))
    assert str(target) in str(caught.value)
    assert not caches(data_dir)


def test_the_same_question_in_both_files(files):
    with (files / "test.jsonl").open("a") as test:
        test.write((files / "train.jsonl").read_text("utf-8").splitlines()[0])
    with pytest.raises(BoostError, match=r"test.jsonl, line 13 asks .* as .*train.jsonl, line 1"):
        load_gsm8k_rows(str(files))


def test_text_that_is_not_utf8(files):
    target = files / "train.jsonl"
    target.write_bytes(target.read_bytes().replace("é".encode(), b"\xe9"))
    with pytest.raises(BoostError, match=r"train.jsonl, line 5 is not JSON.*utf-8"):
        load_gsm8k_rows(str(files))


def test_text_that_only_the_builder_rejects(files):
    with (files / "test.jsonl").open("a") as test:
        test.write('{"question": "How \\ud800?", "answer": "#### 1"}\n')
    with pytest.raises(BoostError, match="cannot be prepared"):
        load_gsm8k_rows(str(files))


def test_missing_files(files, tmp_path):
    with pytest.raises(BoostError, match=r"nowhere/train.jsonl and .*nowhere/test.jsonl missing"):
        load_gsm8k_rows(str(tmp_path / "nowhere"))
    (files / "test.jsonl").unlink()
    with pytest.raises(BoostError, match=r"^\S*test.jsonl missing: --data.path"):
        load_gsm8k_rows(str(files))
    (files / "test.jsonl").mkdir()
    with pytest.raises(BoostError, match=r"test.jsonl cannot be read"):
        load_gsm8k_rows(str(files))


# --- the download -----------------------------------------------------------------------------


def no_network(*args, **kwargs):
    raise requests.ConnectionError("no route to host")


def fake_download(self, urls):
    return {name: FIXTURES / f"{name.removesuffix('_socratic')}.jsonl" for name in urls}


def test_download_fails(monkeypatch, data_dir):
    monkeypatch.setattr(requests.Session, "get", no_network)
    with pytest.raises(BoostError, match=r"download .*no route to host.*--data\.path") as caught:
        gsm8k.load_gsm8k(config(""))
    assert isinstance(caught.value.__cause__, requests.ConnectionError)
    assert not list(data_dir.rglob("dataset_info.json"))


def test_download_is_prepared_and_kept(monkeypatch, data_dir):
    manager = tfds.download.DownloadManager
    monkeypatch.setattr(manager, "download_and_extract", fake_download)
    loaded = gsm8k.load_gsm8k(config(""))
    assert loaded.prompts == gsm8k.load_gsm8k(config()).prompts
    assert (data_dir / "gsm8k" / "1.0.0" / "dataset_info.json").exists()
    monkeypatch.setattr(manager, "download_and_extract", refuse)
    monkeypatch.setattr(prepared, "_new_folder", refuse)
    assert gsm8k.load_gsm8k(config("")).prompts == loaded.prompts


def test_download_by_two_at_once(monkeypatch):
    manager = tfds.download.DownloadManager

    def slower(self, urls):
        monkeypatch.setattr(manager, "download_and_extract", fake_download)
        load_gsm8k_rows("")  # the other process
        return fake_download(self, urls)

    monkeypatch.setattr(manager, "download_and_extract", slower)
    assert len(load_gsm8k_rows("")["train"]) == 40


@pytest.mark.parametrize("damage", [drop_info, drop_records, cut_records])
def test_damaged_download(monkeypatch, data_dir, damage):
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", fake_download)
    load_gsm8k_rows("")
    damage(data_dir / "gsm8k")
    with pytest.raises(BoostError, match=r"tfds/gsm8k cannot be read .*delete this folder"):
        load_gsm8k_rows("")


def test_builder_is_the_original_one():
    assert issubclass(LocalGsm8k, tfds_gsm8k.Gsm8k)
    assert LocalGsm8k._generate_examples is tfds_gsm8k.Gsm8k._generate_examples


def test_a_byte_order_mark_and_other_line_ends_change_no_row(files, data_dir):
    rows = load_gsm8k_rows(str(files))
    for name in ("train.jsonl", "test.jsonl"):
        data = (files / name).read_bytes()
        (files / name).write_bytes(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n").strip())
    again = load_gsm8k_rows(str(files))
    assert {s: sorted(r) for s, r in again.items()} == {s: sorted(r) for s, r in rows.items()}
