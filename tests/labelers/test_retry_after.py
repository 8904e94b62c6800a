"""How long a server asks to wait, in every form that servers write it in."""

import time

import pytest

from boostlm.labelers.chat_client import _wait_before
from boostlm.labelers.completion import retry_after

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        (" ", None),
        ("0", 0),
        ("3", 3),
        (" 3 ", 3),
        ("2.5", 2.5),
        ("86400", 86400),
        ("100000000", 1e8),
        ("-1", None),
        ("+1", None),
        ("1e9", None),
        ("1e400", None),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("3 s", None),
        ("1_000", None),
        ("\u0663", None),
        ("9" * 400, None),
        ("1800000030", 30),  # a Unix time
        ("1800000030.5", 30.5),
        ("1800000030500", 30.5),  # in milliseconds
        ("1700000000", 0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30),
        ("Fri, 15 Jan 2027 09:00:30 +0100", 30),
        ("Fri, 15 Jan 2027 08:00:30 -0000", 30),  # no zone: GMT
        ("Friday, 15-Jan-27 08:00:30 GMT", 30),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Fri, 15 Jan 2027", None),
        ("Fri, 99 Jan 2027 08:00:30 GMT", None),
        ("Mon, 01 Jan 0000 00:00:00 GMT", 0),
        ("2027-01-15T08:00:30Z", None),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_every_form_of_retry_after_is_read(monkeypatch, value, seconds, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert retry_after(value, NOW) == seconds
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("asked", [None, 0.0, 0.5, 30.0, 600.0])
def test_waits_double_and_are_never_shorter_than_asked(asked):
    for attempt in range(2, 7):
        own = 2.0 ** (attempt - 2)
        wait = _wait_before(attempt, asked)
        assert wait == asked if (asked or 0) > 1.2 * own else 0.8 * own <= wait
        assert wait <= max(1.2 * own, asked or 0)
