"""What is appended in a bucket: an object each time, one in the end, and none is lost to a kill."""

import json

import pytest
from etils import epath
from support.fake_bucket import bucket

from boostlm.storage import durable_files
from boostlm.storage.ledger import Entry, Ledger, read_ledger
from boostlm.storage.run_dir import RoundId, RunDir


@pytest.fixture
def store(monkeypatch):
    with bucket(monkeypatch) as names:
        yield names


PATH = epath.Path("gs://our-bucket/runs/one/rounds/seed0/boosting/round01/ledger.jsonl")


def entries(count, start=0):
    return [
        Entry(0, "boosting", 1, n, 0, "x", 1.0, f"text {n}", "", True, True, True)
        for n in range(start, start + count)
    ]


def test_appending_writes_what_is_new_and_no_more(store, monkeypatch):
    written, real = [], type(PATH).write_bytes

    def counted(path, data):
        written.append(len(data))
        return real(path, data)

    monkeypatch.setattr(type(PATH), "write_bytes", counted)
    ledger = Ledger(PATH)
    for n in range(40):
        ledger.append(entries(1, n))
    ledger.close()
    whole = len(PATH.read_bytes())
    assert sum(written) == 2 * whole  # once as it came, once joined
    assert list(store) == [str(PATH).removeprefix("gs:/")]
    assert list(read_ledger(PATH).entries) == [(n, 0) for n in range(40)]


@pytest.mark.parametrize("joined", [0, 1, 2, 3])
def test_a_kill_while_parts_are_joined_loses_nothing_and_doubles_nothing(
    store, monkeypatch, joined
):
    ledger = Ledger(PATH)
    for n in range(3):
        ledger.append(entries(2, 2 * n))
    left, real = [joined], type(PATH).unlink

    class Killed(BaseException):
        pass

    def unlink(path, *rest, **options):
        if not left[0]:
            raise Killed
        left[0] -= 1
        real(path, *rest, **options)

    monkeypatch.setattr(type(PATH), "unlink", unlink)
    if joined < 3:
        with pytest.raises(Killed):
            ledger.close()
    else:
        ledger.close()
    monkeypatch.setattr(type(PATH), "unlink", real)
    again = read_ledger(PATH)
    assert list(again.entries) == [(n, 0) for n in range(6)]
    again.append(entries(1, 6))
    again.close()
    lines = [json.loads(line)["prompt"] for line in PATH.read_bytes().splitlines()]
    assert lines == list(range(7))


def test_a_round_with_parts_alone_has_a_ledger(store):
    run = RunDir("gs://our-bucket/runs/one")
    Ledger(PATH).append(entries(1))
    files, names = run.open_round(RoundId(0, "boosting", 1))
    assert "ledger" in names
    assert run.ledger_paths() == [files.ledger] == [PATH]


def test_a_local_file_is_appended_to(tmp_path):
    path = epath.Path(tmp_path) / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.append(entries(2))
    ledger.append(entries(1, 2))
    ledger.close()
    assert [p.name for p in path.parent.iterdir()] == ["ledger.jsonl"]
    assert len(durable_files.complete_lines(path)) == 3
