"""What a run made, written for others: the curated set of a round as JSON lines, and its models."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from boostlm.config_io import arm_config, arms_of
from boostlm.curation.arms import folder_of
from boostlm.curation.difficulty import initial_log_weights, theta_from_beta
from boostlm.curation.policies import ArmSwitches, keep_own, switches_of
from boostlm.curation.round import Labels, TrainingSet, curate, plan_labels
from boostlm.engine.learner import texts_of
from boostlm.errors import BoostError
from boostlm.experiment.context import Assembly, assemble_run
from boostlm.experiment.past_rounds import labels_in_order
from boostlm.experiment.resume import run_params, saved_round
from boostlm.experiment.round_arrays import Samples, Verdicts
from boostlm.pretrained.converted import is_converted, load_converted
from boostlm.pretrained.huggingface import write_huggingface
from boostlm.storage import durable_files
from boostlm.storage.ledger import Entry, read_ledger
from boostlm.storage.metrics_file import MetricsFile
from boostlm.storage.run_dir import RoundId, RunDir
from boostlm.storage.stage_parts import load_all
from boostlm.user_code import open_path

OWN_SAMPLE = (
    "own sample"  # the source of the model's own responses; that of a label is the labeler's name
)


def export_round(
    run_dir: RunDir, seed: int, arm: str, round_: int | None, out: str | None
) -> tuple[epath.Path, int, int]:
    """Writes the set that round `round_` of training drew its rows from, a JSON object a line.

    It is computed again from what the round committed: the model's samples, the filter's verdicts
    and the ledger. Writes nothing else. Every line has the same fields:

      prompt, response: text; the response without its end-of-text token.
      weight: share of the training loss, float; all lines add up to 1.
      round: of training, from 1, which added it; its samples are those of the model after
        `round` - 1 rounds.
      source: `OWN_SAMPLE`, or the labeler's name.
      prompt_id, sample: which training prompt, and which of its samples or labels.
      finished: false for an own sample that the length limit cut off.
      seed, arm: which repeat, and which arm.

    Args:
      run_dir: the run's directory.
      seed: which repeat.
      arm: which arm.
      round_: the round of training, from 1; None for the last one that is finished.
      out: file to write; None for one in the current folder, named by seed, arm and round.

    Returns:
      The file, how many of its lines are own samples, and how many are labels.

    Raises:
      BoostError: the round is not finished, or its stages are not all on disk.
    """
    config = run_dir.read_config()
    if arm not in arms_of(config) or not 0 <= seed < config.seeds:
        raise BoostError(
            f"{run_dir.name} has no seed {seed} of arm {arm} (arms: {', '.join(arms_of(config))}; "
            f"seeds: 0 to {config.seeds - 1})"
        )
    metrics = MetricsFile(run_dir, config)
    has = [RoundId(seed, arm, r) in metrics.rows for r in range(config.rounds + 1)]
    done = [r for r in range(1, config.rounds + 1) if has[r - 1] and has[r]]
    if not done or (round_ is not None and round_ not in done):
        which = f"round {1 if round_ is None else round_}"
        finished = f"finished: {', '.join(map(str, done))}" if done else "no round is finished"
        raise BoostError(
            f"{run_dir.name}: {which} of seed {seed}, arm {arm} is not finished ({finished}); "
            "`boostlm run` continues a run. Rounds of training count from 1"
        )
    id_ = RoundId(seed, arm, done[-1] if round_ is None else round_)
    records = list(_records(assemble_run(run_dir), run_dir, metrics, id_))
    path = open_path(out or f"seed{seed}-{folder_of(arm)}-round{id_.round:02d}.jsonl", "--out")
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    durable_files.write_atomically(path, "".join(lines).encode())
    own = sum(record["source"] == OWN_SAMPLE for record in records)
    return path, own, len(records) - own


def export_model(
    source: str, dest: str, seed: int = 0, arm: str = "boosting", round_: int | None = None
) -> None:
    """Writes a converted model, or one that a run trained from it, as a Hugging Face directory.

    Args:
      source: a converted model or a run directory.
      dest: the directory to make.
      seed: which repeat of a run.
      arm: which arm of a run.
      round_: rounds of training of a run's model; None for the last checkpoint.
    """
    path, folder = open_path(source), open_path(dest)
    if folder.exists():
        raise BoostError(f"{dest} exists: name a new folder, or remove it first")
    if is_converted(path):
        write_huggingface(folder, load_converted(path))
        return
    run_dir = RunDir(source)
    start = run_dir.read_config().seed_model.path
    if not start:
        raise BoostError(
            f"{source} did not start from a converted model, and only such models can be exported"
        )
    params = run_params(run_dir, saved_round(run_dir, seed, arm, round_), assemble_run(run_dir))
    write_huggingface(
        folder, load_converted(open_path(start, "seed_model.path"))._replace(params=params)
    )


class _Round(NamedTuple):
    """What one round of training added to the set."""

    samples: Samples
    accepted_NxK: np.ndarray
    labels: list[Entry]


def _records(
    parts: Assembly, run_dir: RunDir, metrics: MetricsFile, id_: RoundId
) -> Iterator[dict[str, Any]]:
    arm = arms_of(parts.config)[id_.arm]
    config, switches = arm_config(parts.config, arm), switches_of(arm)
    first = 1 if arm.data == "all" else id_.round
    rounds = {
        r: _read(run_dir, metrics, id_._replace(round=r)) for r in range(first, id_.round + 1)
    }
    accepted = [jnp.asarray(x.accepted_NxK) for x in rounds.values()]
    bought = [entry for x in rounds.values() for entry in x.labels]
    examples = TrainingSet(
        None,
        jnp.concatenate([keep_own(switches.own, a) for a in accepted], axis=1),
        Labels(None, jnp.array([entry.kept for entry in bought], bool)),
        jnp.array([entry.prompt for entry in bought], jnp.int32),
    )
    log_weight_N = initial_log_weights(len(accepted[0]))
    if arm.weigh_training:
        log_weight_N = _difficulty(run_dir, id_, switches, log_weight_N, config.label.beta)
    mixture = curate(switches, examples, log_weight_N, config.train.alpha)
    own = np.split(np.asarray(mixture.synthetic_NxK), len(rounds), axis=1)
    weak = np.split(np.asarray(mixture.weak_L), np.cumsum([len(x.labels) for x in rounds.values()]))
    for (r, of_round), own_NxK, weak_L in zip(rounds.items(), own, weak, strict=False):
        yield from _of_round(parts, id_._replace(round=r), of_round, own_NxK, weak_L)


def _read(run_dir: RunDir, metrics: MetricsFile, id_: RoundId) -> _Round:
    before = id_._replace(round=id_.round - 1)
    samples = Samples(**_arrays(run_dir.round_dir(before).samples, Samples._fields))
    accepted = _arrays(run_dir.round_dir(before).verdicts, Verdicts._fields)["accepted"]
    ledger = read_ledger(run_dir.round_dir(id_).ledger)
    bought = metrics.rows[id_]["labels_spent"] - metrics.rows[before]["labels_spent"]
    if len(ledger.entries) != bought:
        raise BoostError(
            f"{ledger.path} holds {len(ledger.entries)} labels, and round {id_.round} bought "
            f"{bought}: the set that the round trained on is lost"
        )
    return _Round(samples, accepted, labels_in_order(ledger))


def _difficulty(
    run_dir: RunDir, id_: RoundId, arm: ArmSwitches, log_weight_N: jax.Array, beta: float
) -> jax.Array:
    """The difficulty weights that a round trained with."""
    failures_N = jnp.zeros(log_weight_N.shape, jnp.int32)
    for r in range(id_.round):
        path = run_dir.round_dir(id_._replace(round=r)).verdicts
        accepted = jnp.asarray(_arrays(path, Verdicts._fields)["accepted"])
        log_weight_N, failures_N, _ = plan_labels(
            jax.random.key(0), arm, log_weight_N, failures_N, accepted, theta_from_beta(beta),
            0, r, places=1
        )  # fmt: skip
    return log_weight_N


def _of_round(
    parts: Assembly, id_: RoundId, of_round: _Round, own_NxK: np.ndarray, weak_L: np.ndarray
) -> Iterator[dict[str, Any]]:
    samples, prompts = of_round.samples, parts.task.prompts["train"].texts
    K, R = samples.tokens_NxKxR.shape[1:]
    responses = texts_of(
        parts.tokenizer,
        samples.tokens_NxKxR.reshape(-1, R),
        samples.length_NxK.reshape(-1),
    )

    def record(
        response: str, weight: float, source: str, prompt_id: int, sample: int, finished: bool
    ) -> dict[str, Any]:
        return {
            "prompt": prompts[prompt_id],
            "response": response,
            "weight": float(weight),
            "round": id_.round,
            "source": source,
            "prompt_id": int(prompt_id),
            "sample": int(sample),
            "finished": finished,
            "seed": id_.seed,
            "arm": id_.arm,
        }

    for n, k in np.argwhere(own_NxK > 0):
        finished = bool(samples.finished_NxK[n, k])
        yield record(responses[n * K + k], own_NxK[n, k], OWN_SAMPLE, n, k, finished)
    for entry, weight in zip(of_round.labels, weak_L, strict=True):
        if weight > 0:
            yield record(entry.text, weight, entry.source, entry.prompt, entry.sample, True)


def _arrays(path: epath.Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    arrays = load_all(path, names)
    if arrays is None:
        raise BoostError(f"{path} is missing or torn: the set that the round trained on is lost")
    return arrays
