"""The reported experiments' configs, end to end on a tiny converted Gemma 2."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from etils import epath
from support import gemma_reference as ref
from support.mbpp_fixtures import fixture_records, write
from support.runs import REPOSITORY, boostlm, rows_of
from support.sandbox_kit import need_sandbox

from boostlm.config import FOUR_ARMS, TokenizerConfig
from boostlm.config_io import load_config, override
from boostlm.engine.tokenizer import train_tokenizer
from boostlm.errors import BoostError
from boostlm.experiment.context import make_context
from boostlm.lm.decoder import decoder_lm
from boostlm.pretrained.converted import PretrainedModel, open_converted, save_converted
from boostlm.storage.run_dir import RunDir
from boostlm.tasks.registry import load_task

pytestmark = pytest.mark.slow

TINY = [
    "--seeds=1",
    "--rounds=1",
    "--data.train_prompts=4",
    "--data.eval_prompts=3",
    "--sample.k=2",
    "--sample.max_new_tokens=8",
    "--sample.batch_size=8",
    "--filter.false_accept_rate=0.5",  # as a random model is never right
    "--label.beta=0.9",
    "--label.budget=4",
    "--train.optimizer.steps=1",
    "--train.optimizer.batch_size=2",
]


def tiny_gemma(task, folder):
    """A converted Gemma 2 with random weights, whose tokenizer knows the task's texts."""
    tokenizer = train_tokenizer(TokenizerConfig("bpe", 1000), task.tokenizer_texts())
    config = dataclasses.replace(ref.TINY["gemma2"], layers=1, logit_cap=30.0)
    init = decoder_lm(config, tokenizer.vocab_size).init
    params = jax.tree.map(np.array, jax.jit(init)(jax.random.key(0)))
    params["params"]["embedding"]["embedding"][tokenizer.eos_id] *= 8  # so that responses end
    none = np.zeros((0, config.width), np.float32)
    save_converted(folder, PretrainedModel(config, tokenizer, params, none))


def longest_prompt(task, folder):
    """Tokens of the longest prompt, as many as have to be computed."""
    tokenizer = open_converted(epath.Path(folder))[1]
    texts = [text for split in ("train", "test") for text in task.prompts[split].texts]
    return max(len(tokenizer.encode_prompt(text)) for text in texts)


@pytest.mark.parametrize("name", ["gsm8k_gemma2_2b", "mbpp_gemma2_2b"])
def test_a_config_runs_end_to_end_on_a_small_converted_model(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    path = REPOSITORY / "tests" / "data" / "gsm8k"
    if name.startswith("mbpp"):
        need_sandbox()
        records = fixture_records()
        records[-1]["text"] = records[3]["text"]  # a test problem's, so that it is left out
        path = write(tmp_path / "mbpp", records)
    model = tmp_path / "model"
    file = REPOSITORY / "configs" / f"{name}.py"
    given = [*TINY, f"--data.path={path}", f"--seed_model.path={model}"]
    task = load_task(override(load_config(str(file)), given).data)
    tiny_gemma(task, epath.Path(model))
    given.append(f"--data.max_prompt_tokens={longest_prompt(task, model)}")
    done = boostlm("run", file, "--run-dir", tmp_path / "run", *given)
    assert done.returncode == 0, done.stderr
    assert len(task.notes) == name.startswith("mbpp")
    assert all(note in done.stdout for note in task.notes)
    rows = rows_of(tmp_path / "run")
    assert [(r["arm"], r["round"]) for r in rows] == [(arm, r) for arm in FOUR_ARMS for r in (0, 1)]
    assert all(np.isfinite(row["train_loss"]) for row in rows)
    bought = {row["arm"]: row["labels_spent"] for row in rows if row["round"] == 1}
    assert bought["do_nothing"] == bought["filter_only"] == 0
    assert 0 < bought["boosting"] <= bought["uniform"] == 4
    path = tmp_path / "run" / "rounds" / "seed0" / "uniform" / "round01" / "ledger.jsonl"
    ledger = path.read_text()
    entries = [json.loads(line) for line in ledger.splitlines()]
    assert {entry["source"] for entry in entries} == {"frozen_model"}
    kept = json.loads((tmp_path / "run" / "task.json").read_text())
    assert kept["few_shot"] == task.few_shot != ""


@pytest.mark.parametrize("name", ["gsm8k_gemma2_2b", "mbpp_gemma2_2b", "gsm8k_gemma3_270m"])
def test_a_config_evaluates_the_whole_test_set_and_wants_its_model(name, tmp_path):
    config = load_config(f"{REPOSITORY}/configs/{name}.py")
    assert config.arms == FOUR_ARMS
    assert config.data.eval_prompts == {"gsm8k": 1319, "mbpp": 500}[config.data.task]
    assert config.data.train_prompts == {"gsm8k": 7000, "mbpp": 359}[config.data.task]
    assert (config.seeds, config.rounds, config.sample.k) == (3, 5, 8)
    missing = override(config, [f"--seed_model.path={tmp_path}", "--data.task=skills", "--data.few_shot="])  # fmt: skip
    with pytest.raises(BoostError, match="boostlm convert makes one"):
        make_context(missing, RunDir(tmp_path / "run"))
