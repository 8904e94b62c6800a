"""Lives of one tiny run: what a process does from its start to its end or its death."""

import itertools
import json
import os

from etils import epath

from boostlm.config_io import arms_of
from boostlm.experiment import resume
from boostlm.experiment.run import planned_stages, run_experiment
from boostlm.labelers import simulated
from boostlm.labelers.registry import make_labeler
from boostlm.runtime.progress import Progress
from boostlm.storage import checkpoint
from boostlm.storage.run_dir import RoundId, RunDir
from support.runs import bits, rows_of, stage_files, tiny_config

# Two arms, and one checkpoint of each.
CONFIG = tiny_config(arms=("filter_only", "boosting"), keep_checkpoints=1)


class Shop:
    """The labeler, with a receipt for every label."""

    def __init__(self, ctx):
        self.labeler = simulated.simulated_labeler(ctx.config.label, ctx.task.answer_key("train"))
        self.sold = []

    def __call__(self, queries):
        for batch in self.labeler(queries):
            self.sold += [(q.seed, q.round, q.prompt, q.sample) for q, _ in batch]
            yield batch


def live(ctx, root, shop=None, labeler_of=make_labeler, on_row=lambda: None):
    """One process's life, as the command line would have it."""
    folder = RunDir(root)
    with folder.locked():
        folder.create(ctx.config)
        with open(os.devnull, "w") as out:
            progress = Progress(planned_stages(ctx.config), out)
            labeler_of = (lambda context: shop) if shop else labeler_of
            return run_experiment(ctx, folder, progress, labeler_of, on_row)


def outcome(ctx, root):
    """Everything that must come out alike, bit for bit."""
    folder, config = RunDir(root), ctx.config
    kept = {}
    for seed, arm, round_ in itertools.product(range(config.seeds), arms_of(config), range(1, 99)):
        path = folder.round_dir(RoundId(seed, arm, round_)).checkpoint
        if path.exists():
            assert checkpoint.is_good(path)
            shapes = resume.shapes_of(ctx.of_arm(arm))
            kept[seed, arm, round_] = bits(resume.load_state(path, shapes))
    return {
        "rows": rows_of(root),
        "params": kept,
        "seed model": bits(
            resume.load_learner(folder, RoundId(0, "boosting", 0), resume.shapes_of(ctx))
        ),
        "files": {str(p.relative_to(root)): p.read_bytes() for p in stage_files(root)},
    }


def files_below(root):
    return sorted(epath.Path(f) / name for f, _, found in os.walk(root) for name in found)


def drop_rows(root, keep):
    """Forgets rows of metrics.jsonl, as a run that was killed earlier would have."""
    path = root / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows if keep(row)))
