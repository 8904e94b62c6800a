"""A ledger keeps what was bought, whatever tore it."""

import pytest
from support.disk import full_disk

from boostlm.errors import BoostError
from boostlm.storage.ledger import Entry, Ledger, read_ledger


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
