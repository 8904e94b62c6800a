"""A run that is killed at any commit goes on: nothing is lost, nothing bought twice."""

import json

import pytest
from support.crashes import Crashes, Killed
from support.lives import Shop, files_below, live, outcome
from support.runs import (
    ledger_files,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_chunks")]


def lives(ctx, root, shop, at, how):
    """Crashes every life at its `at`-th commit until one gets through; the paths crashed at.

    A life that was crashed where the last one was gets a commit more, or none would get further.
    """
    crashed = []
    while True:
        again = sum(path == crashed[-1] for path in crashed[-3:])
        assert len(crashed) < 200, f"no way past {crashed[-1]}"
        on_disk = labels_on_disk(root)
        sold = len(shop.sold)
        with pytest.MonkeyPatch.context() as patch:
            Crashes(patch, at + max(0, again - 1), how)
            try:
                live(ctx, root, shop)
                done = True
            except Killed as killed:
                crashed.append(str(killed))
                done = False
        assert not on_disk & set(shop.sold[sold:]), "bought again"
        if done:
            return crashed


def labels_on_disk(root):
    entries = set()
    for path in ledger_files(root):
        for line in path.read_bytes().split(b"\n")[:-1]:
            e = json.loads(line)
            entries.add((e["seed"], e["round"], e["prompt"], e["sample"]))
    return entries


@pytest.mark.filterwarnings("ignore:.*ignored a torn last line:UserWarning")
@pytest.mark.parametrize(("at", "how"), [(0, "after"), (1, "half")])
def test_a_crash_at_every_commit(ctx, whole, tmp_path, at, how):
    """Every life commits one thing more and dies: so each commit of the run is crashed at once."""
    shop = Shop(ctx)
    crashed = lives(ctx, tmp_path, shop, at, how)
    kinds = (
        "config",
        "samples",
        "verdicts",
        "eval",
        "ledger",
        "manifest",
        "metrics",
        "round01",
        "round02",
    )
    for kind in kinds[(at > 0) :]:
        assert any(kind in path for path in crashed), f"never crashed at {kind}"
    assert len(crashed) >= 30
    assert outcome(ctx, tmp_path) == whole[1]
    assert not [p for p in files_below(tmp_path) if p.name.endswith(".tmp")]


@pytest.mark.filterwarnings("ignore:.*ignored a torn last line:UserWarning")
@pytest.mark.parametrize("how", ["half", "after"])
def test_one_crash_and_a_run_to_the_end(ctx, whole, tmp_path, how):
    """A spread of the commits, others for each way."""
    for at in range({"half": 4, "after": 10}[how], 35, 12):
        root, shop = tmp_path / str(at), Shop(ctx)
        with pytest.MonkeyPatch.context() as patch:
            Crashes(patch, at, how)
            with pytest.raises(Killed):
                live(ctx, root, shop)
        on_disk, sold = labels_on_disk(root), len(shop.sold)
        live(ctx, root, shop)
        assert not on_disk & set(shop.sold[sold:])
        assert outcome(ctx, root) == whole[1]
