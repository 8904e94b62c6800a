"""Runs of many arms: what they share, that they grow, and that they survive a kill."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from support.crashes import Crashes, Killed
from support.lives import CONFIG, live, outcome
from support.runs import rows_of

from boostlm.config import FilterConfig, LabelConfig
from boostlm.config_io import override
from boostlm.curation.arms import ARMS
from boostlm.errors import BoostError
from boostlm.labelers.base import Label, in_batches
from boostlm.labelers.shared import labeler_settings
from boostlm.storage import durable_files
from boostlm.storage.ledger import read_ledger
from boostlm.storage.run_dir import RoundId, RunDir

pytestmark = pytest.mark.slow

TWELVE = (
    "filter_only,uniform,boosting,boosting(label.beta=0.5,label.budget=4),"
    "boosting(sample.k=3),boosting(filter.miss_rate=0.3),"
    "unsorted=boosting(label.filter_labels=false),boosting_both,rest_em,accumulate,"
    "uniform(data=all,train.alpha=0.5),supervised"
)


def config_of(arms, **changes):
    return override(replace(CONFIG, **changes), [f"--arms={arms}"])


@pytest.fixture(scope="module")
def twelve(ctx, tmp_path_factory):
    """The context of a run of 12 arms, its folder and its outcome. Read only."""
    ctx = replace(ctx, config=config_of(TWELVE))
    root = tmp_path_factory.mktemp("twelve")
    live(ctx, root)
    return ctx, root, outcome(ctx, root)


def test_every_preset_runs(ctx, tmp_path):
    """Those that the twelve do not hold."""
    arms = ",".join(name for name in ARMS if name not in TWELVE.split(",") or name == "boosting")
    ctx = replace(ctx, config=config_of(arms, rounds=1))
    live(ctx, tmp_path)
    rows = rows_of(tmp_path)
    assert [(r["arm"], r["round"]) for r in rows] == [
        (arm, r) for arm in ctx.config.arms for r in (0, 1)
    ]
    spent = {row["arm"]: row["labels_spent"] for row in rows}
    assert spent["oracle"] == 8
    assert rows[-1]["labels_kept"] == 8  # the oracle's, which are all right and all kept


def test_a_run_of_twelve_arms_has_all_rows(twelve):
    _, _, made = twelve
    assert len(made["rows"]) == 12 * 3
    of = {(row["arm"], row["round"]): row for row in made["rows"]}
    kept = [of["boosting", r]["labels_kept"] for r in range(3)]
    assert [of["supervised", r]["labels_spent"] for r in range(3)] == kept
    assert [of["boosting(label.beta=0.5,label.budget=4)", r]["labels_spent"] for r in range(3)] == [
        0, 4, 8
    ]  # fmt: skip
    assert of["unsorted", 2]["labels_kept"] == 16


def test_arms_share_where_they_start(twelve):
    _, root, _ = twelve
    shared = sorted(p.name for p in (root / "rounds/seed0").glob("shared*"))
    assert shared == ["shared", "shared+filter.miss_rate=0.3", "shared+sample.k=3"]
    own = {p.name for p in (root / "rounds/seed0/shared+filter.miss_rate=0.3/round00").iterdir()}
    assert own == {"verdicts.npz"}  # the samples are those of all
    three = durable_files.load_arrays(
        RunDir(root).round_dir(RoundId(0, "boosting(sample.k=3)", 0)).samples, ("tokens_NxKxR",)
    )
    both = durable_files.load_arrays(
        RunDir(root).round_dir(RoundId(0, "boosting", 0)).samples, ("tokens_NxKxR",)
    )
    np.testing.assert_array_equal(three["tokens_NxKxR"][:, :2], both["tokens_NxKxR"])


def test_an_arm_that_accumulates_trains_on_what_it_would_not_otherwise(twelve):
    """In round 1 there is nothing to accumulate; in round 2 there is."""
    ctx, root, made = twelve
    loss = {(row["arm"], row["round"]): row["train_loss"] for row in made["rows"]}
    alone = replace(ctx, config=config_of("do_nothing,uniform(train.alpha=0.5)"))
    live(alone, root.parent / "alone")
    for row in rows_of(root.parent / "alone"):
        other = {"do_nothing": "accumulate"}.get(row["arm"], "uniform(data=all,train.alpha=0.5)")
        if row["round"]:
            assert (loss[other, row["round"]] == row["train_loss"]) == (row["round"] == 1)


def test_all_arms_finish_a_round_before_any_starts_the_next(ctx, tmp_path):
    ctx = replace(ctx, config=config_of("filter_only,boosting,uniform"))
    arms_then = []
    live(ctx, tmp_path, on_row=lambda: arms_then.append(
        [(r["arm"], r["round"]) for r in rows_of(tmp_path)]))  # fmt: skip
    assert len(arms_then) == 9
    for rows in arms_then:
        last = [max(r for a, r in rows if a == arm) for arm in {a for a, _ in rows}]
        assert max(last) - min(last) <= 1


@pytest.mark.filterwarnings("ignore:.*ignored a torn last line:UserWarning")
@pytest.mark.parametrize(("at", "how"), [(25, "after"), (95, "half")])
def test_twelve_arms_go_on_after_a_kill(twelve, tmp_path, at, how):
    ctx, _, expected = twelve
    with pytest.MonkeyPatch.context() as patch:
        Crashes(patch, at, how)
        with pytest.raises(Killed):
            live(ctx, tmp_path)
    live(ctx, tmp_path)
    assert outcome(ctx, tmp_path) == expected


def test_a_run_that_grows_is_as_if_it_had_been_so_from_the_start(ctx, tmp_path):
    whole = replace(ctx, config=config_of("uniform,filter_only,boosting", seeds=2))
    live(whole, tmp_path / "whole")
    steps = [
        ("filter_only", 1, 1),
        ("filter_only,boosting", 1, 1),
        ("filter_only,boosting", 2, 1),
        ("uniform,filter_only,boosting", 2, 2),
    ]
    for arms, rounds, seeds in steps:
        live(replace(ctx, config=config_of(arms, rounds=rounds, seeds=seeds)), tmp_path / "grown")
    grown, expected = (outcome(whole, tmp_path / name) for name in ("grown", "whole"))
    for made in (grown, expected):  # labels are in the ledger in the order of their arrival
        files = made["files"].items()
        made["files"] = {n: sorted(x.splitlines()) if "ledger" in n else x for n, x in files}
    assert grown == expected


@pytest.mark.parametrize("arms", ["boosting", "filter_only,boosting(label.beta=0.1)"])
def test_a_run_does_not_shrink(ctx, whole, tmp_path, arms):
    root = tmp_path / "run"
    shutil.copytree(whole[0], root)
    with pytest.raises(BoostError, match=r"arms: .*\n.*Only rounds, seeds and arms may be added"):
        live(replace(ctx, config=config_of(arms)), root)
    with pytest.raises(BoostError, match="rounds: 2 -> 1"):
        live(replace(ctx, config=replace(CONFIG, rounds=1)), root)


def test_arms_that_ask_the_same_labeler_share_its_answers(ctx, tmp_path):
    """It is asked once for each query, each arm's ledger has its cost, and all have one answer."""
    label = LabelConfig(labeler="mine.py:label", budget=24, filter_labels=False, cost=2.0)
    arms = "uniform,uniform_failing,boosting,dear=uniform(label.cost=3)"
    config = replace(config_of(arms), label=label, filter=FilterConfig(0.9, 0.05))
    asked, totals = [], []

    def labeler_of(context):
        cost = context.config.label.cost

        def answer(queries):
            asked.extend((cost, q.seed, q.round, q.prompt, q.sample) for q in queries)
            totals.append(context.spent())
            return [Label(str(len(asked) + i), "mine", cost) for i, _ in enumerate(queries)]

        return in_batches(answer, 5)

    live(replace(ctx, config=config), tmp_path, labeler_of=labeler_of)
    assert len(asked) == len(set(asked))
    bought = {}
    for arm in ("uniform", "uniform_failing", "boosting", "dear"):
        for round_ in (1, 2):
            ledger = read_ledger(RunDir(tmp_path).round_dir(RoundId(0, arm, round_)).ledger)
            assert len(ledger.entries) == 24
            for key, entry in ledger.entries.items():
                bought.setdefault((entry.cost, 0, round_, *key), []).append(entry.text)
    assert set(bought) == set(asked)
    assert all(len(set(texts)) == 1 for texts in bought.values())
    assert max(map(len, bought.values())) == 3
    assert len([key for key in asked if key[0] == 3.0]) == 48  # another price: asked again
    assert totals[-1] < sum(key[0] for key in asked)  # nothing is counted twice in the cap


def test_what_decides_an_answer_and_what_does_not():
    frozen = replace(CONFIG, label=replace(CONFIG.label, labeler="frozen_model"))
    for config, change, same in (
        (CONFIG, {"budget": 3}, True),
        (CONFIG, {"beta": 0.1}, False),
        (frozen, {"beta": 0.1}, True),
        (frozen, {"cost": 3.0}, False),
    ):
        other = replace(config, label=replace(config.label, **change))
        assert (labeler_settings(other) == labeler_settings(config)) == same
    hotter = replace(frozen, sample=replace(frozen.sample, temperature=0.5))
    assert labeler_settings(hotter) != labeler_settings(frozen)
