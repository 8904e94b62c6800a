"""After its first round of training, a run compiles nothing: all shapes are those of the config."""

import json
import sys

import pytest
from support.hosts import ended, on_hosts
from support.runs import as_options, rows_of, tiny_config

from boostlm.config import DataConfig, LabelConfig, SampleConfig, TrainConfig

pytestmark = pytest.mark.slow

# Prints, after each row of metrics, what was compiled, or read from the cache, since the last one.
WATCHED = """
import json, logging, sys
import jax
from boostlm.cli.main import main
from boostlm.storage.metrics_file import MetricsFile

names, rounds, add = [], [], MetricsFile.add

class Compiled(logging.Handler):
    def emit(self, record):
        if record.msg.startswith("Compiling"):
            names.append(record.getMessage().split(" with ")[0])

def noted(self, row):
    add(self, row)
    rounds.append(names[:])
    names.clear()

jax.config.update("jax_log_compiles", True)
logger = logging.getLogger("jax._src.interpreters.pxla")
logger.addHandler(Compiled())
logger.propagate = False
MetricsFile.add = noted
status = main(sys.argv[1:])
print("compiled:" + json.dumps(rounds))
sys.exit(status)
"""


@pytest.mark.parametrize(("labeler", "hosts"), [("simulated", 2), ("frozen_model", 1)])
def test_nothing_is_compiled_after_the_first_round(tmp_path, hosts, labeler):
    """Although each round fails, labels and trains on other numbers of prompts and responses."""
    config = tiny_config(
        arms=("boosting",),
        rounds=3,
        data=DataConfig(train_prompts=22, eval_prompts=10),
        sample=SampleConfig(k=3, batch_size=48, eval_k=2),
        label=LabelConfig(labeler=labeler, budget=12),
        train=TrainConfig(reset_optimizer=False, optimizer=tiny_config().train.optimizer),
    )
    options = ["run", "--run-dir", str(tmp_path / "run"), *as_options(config)]
    for status, out, err in ended(
        on_hosts(lambda index: [sys.executable, "-c", WATCHED, *options], hosts)
    ):
        assert status == 0, err
        compiled = json.loads(out.rpartition("compiled:")[2])
        assert len(compiled) == 4
        assert len(compiled[0]) > 10
        assert len(compiled[1]) > 5
        assert compiled[2:] == [[], []]
    rows = rows_of(tmp_path / "run")
    assert len({row["accepted"] for row in rows}) > 1
