"""boostlm export: the curated set that a round trained on, as JSON lines."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from boostlm.errors import BoostError
from boostlm.lm.generate import Responses
from boostlm.curation.round import ARMS, curate
from boostlm.storage.stage_arrays import load_arrays
from boostlm.storage.durable_files import write_atomically
from boostlm.storage.ledger import Ledger
from boostlm.storage.run_dir import Metrics, RunDir
from boostlm.experiment.context import Workbench, build_workbench

OWN = "own sample"  # the source of what the model itself wrote; of a label it is the labeler's name


def export_round(
    run_dir: RunDir, seed: int, arm: str, round_: int | None, out: str | None
) -> tuple[epath.Path, int, int]:
    """Writes the set that training round `round_` drew its rows from, a JSON object a line.

    It is recomputed from what the round committed: the model's samples, the filter's verdicts and
    the ledger. Every line has the same fields:

      prompt, response: text; the response without its end-of-text token.
      weight: share of the training loss, float; all lines add up to 1.
      round: of training, 1, 2, ...; its samples are those of the model after `round` - 1 rounds.
      source: `OWN`, or the labeler's name.
      prompt_id, sample: which training prompt, and which of its samples or labels.
      finished: false for an own sample that the length limit cut off.
      seed, arm: of the run.

    Args:
      run_dir: of the run.
      seed: which repeat.
      arm: which arm.
      round_: of training, from 1; None for the last one that is finished.
      out: file to write; None for one in the run's folder `curated`.

    Returns:
      The file, how many of its lines are own samples, and how many are labels.

    Raises:
      BoostError: a round that is not finished, or whose stages are not all on disk.
    """
    config = run_dir.read_config()
    if arm not in config.arms or not 0 <= seed < config.seeds:
        raise BoostError(
            f"{run_dir.name} has no seed {seed} of arm {arm} (arms: {', '.join(config.arms)}; "
            f"seeds: 0 to {config.seeds - 1})"
        )
    metrics = Metrics(run_dir, config)
    has = [metrics.has(seed, arm, r) for r in range(config.rounds + 1)]
    done = [r for r in range(1, config.rounds + 1) if has[r - 1] and has[r]]
    if not done or (round_ is not None and round_ not in done):
        which = f"round {1 if round_ is None else round_}"
        finished = f"rounds {', '.join(map(str, done))} are" if done else "no round is"
        raise BoostError(
            f"{run_dir.name}: {which} of seed {seed}, arm {arm} is not finished ({finished}); "
            "`boostlm run` goes on with a run. Rounds of training count from 1"
        )
    round_ = done[-1] if round_ is None else round_
    bench = build_workbench(config, run_dir)
    records = list(_records(bench, run_dir, metrics, seed, arm, round_))
    path = epath.Path(out or run_dir.root / "curated" / f"seed{seed}-{arm}-round{round_:02d}.jsonl")
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    write_atomically(path, "".join(lines).encode())
    own = sum(record["source"] == OWN for record in records)
    return path, own, len(records) - own


def _records(
    bench: Workbench, run_dir: RunDir, metrics: Metrics, seed: int, arm: str, round_: int
) -> Iterator[dict[str, Any]]:
    samples, verdicts = (
        _stage(run_dir, seed, arm, round_ - 1, stage, names)
        for stage, names in (("samples", Responses._fields), ("verdicts", ("accepted",)))
    )
    ledger = Ledger(run_dir.ledger_path(seed, arm, round_ - 1))
    before, after = (metrics.row(seed, arm, r)["labels_spent"] for r in (round_ - 1, round_))
    if len(ledger.entries) != after - before:
        raise BoostError(
            f"{ledger.path} holds {len(ledger.entries)} labels, and round {round_} bought "
            f"{after - before}: the set that the round trained on is lost"
        )
    labels = [ledger.entries[pair] for pair in sorted(ledger.entries)]
    kept = np.array([entry.kept for entry in labels], bool)
    mixture = curate(ARMS[arm], verdicts["accepted"], kept, bench.config.train.alpha)
    texts = bench.task.prompts["train"].texts
    responses = bench.texts(samples["tokens_BxKxR"], samples["length_BxK"])
    K = samples["length_BxK"].shape[1]

    def record(response, weight, source, prompt_id, sample, finished) -> dict[str, Any]:
        return {
            "prompt": texts[prompt_id],
            "response": response,
            "weight": float(weight),
            "round": round_,
            "source": source,
            "prompt_id": int(prompt_id),
            "sample": int(sample),
            "finished": bool(finished),
            "seed": seed,
            "arm": arm,
        }

    own_NxK = np.asarray(mixture.synthetic_NxK)
    for n, k in np.argwhere(own_NxK > 0):
        finished = samples["finished_BxK"][n, k]
        yield record(responses[n * K + k], own_NxK[n, k], OWN, n, k, finished)
    for entry, weight in zip(labels, np.asarray(mixture.weak_L), strict=True):
        if weight > 0:
            yield record(entry.text, weight, entry.source, entry.prompt, entry.sample, True)


def _stage(run_dir: RunDir, seed: int, arm: str, round_: int, stage: str, names) -> dict:
    path = run_dir.stage_path(seed, arm, round_, stage)
    arrays = load_arrays(path, names)
    if arrays is None:
        raise BoostError(f"{path} is missing or torn: the set that the round trained on is lost")
    return arrays
