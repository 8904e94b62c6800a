"""Reports of many arms, and reports of a run that goes on."""

import itertools

import pytest
from support import report_run
from support.report_run import Reader, make_run

from boostlm.config import FOUR_ARMS
from boostlm.curation.arms import ARMS
from boostlm.report import refresh
from boostlm.report.compare import SETTLED, comparisons
from boostlm.report.page import render_html
from boostlm.report.plot_style import SHAPES, THEME, colour_name, marker_of
from boostlm.report.terminal import final_table
from boostlm.report.wording import short_arm

LOW = "boosting(label.beta=0.1)"
TWELVE = (*FOUR_ARMS, LOW, "rest_em", "star", "accumulate", "supervised", "oracle", "grid", "other")


@pytest.fixture
def run(monkeypatch):
    for i, arm in enumerate(TWELVE):
        monkeypatch.setitem(report_run.GOAL, arm, report_run.GOAL.get(arm, 0.2 + 0.04 * i))
    run = make_run(arms=TWELVE)
    own = ("grid", "other")
    run.config["arms"] = [f"{arm}=uniform" if arm in own else arm for arm in TWELVE]
    return run


def test_every_preset_has_a_look_of_its_own():
    looks = {(colour_name(arm), marker_of(arm)) for arm in ARMS}
    assert len(looks) == len(ARMS)
    for arm in (*ARMS, *TWELVE):
        assert colour_name(arm) in THEME
        assert marker_of(arm) in SHAPES
    assert colour_name("grid") != "grid"  # an arm's name is no part of the page's colours


def test_other_arms_are_compared_with_filter_only_and_adjusted_for(run):
    found = {(c.first, c.second): c for c in comparisons(run)}
    assert list(found)[:4] == [
        ("boosting", "filter_only"), ("boosting", "uniform"), ("do_nothing", "start"),
        (LOW, "filter_only"),
    ]  # fmt: skip
    assert len(found) == 3 + 8
    assert f"an interval of {1 - SETTLED / 11:.1%}, because the run makes 11" in render_html(run)
    four = make_run(arms=FOUR_ARMS)
    assert len(comparisons(four)) == 3


def test_pages_and_tables_name_every_arm(run):
    page = Reader(render_html(run))
    assert all(arm in "".join(page.text) for arm in TWELVE)
    table = final_table(run)
    assert max(map(len, table.splitlines())) <= 80
    assert all(short_arm(arm) in table for arm in TWELVE)


def test_short_names_keep_what_differs():
    assert short_arm("filter_only") == "filter_only"
    names = [short_arm(f"boosting(label.beta=0.{i})") for i in (1, 2)]
    assert names == ["boos\N{HORIZONTAL ELLIPSIS}ta=0.1", "boos\N{HORIZONTAL ELLIPSIS}ta=0.2"]


def test_reports_take_a_small_part_of_the_time(monkeypatch, tmp_path):
    """One takes 2 s and rows come every 5 s: after the first minute, every eighth row has one."""
    now, written = [0.0], []

    def write(root, run):
        written.append(now[0])
        now[0] += 2

    monkeypatch.setattr(refresh, "read_run", lambda run_dir: None)
    monkeypatch.setattr(refresh, "write_report", write)
    again = refresh.ReportRefresh(refresh.RunDir(tmp_path), lambda: now[0])
    for _ in range(40):
        now[0] += 5
        again()
    assert written[0] == 60
    assert len(written) == 4
    assert all(b - a >= 2 / refresh.SHARE for a, b in itertools.pairwise(written))
