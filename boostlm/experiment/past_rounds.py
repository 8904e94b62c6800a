"""What earlier rounds of an arm made: verdicts, labels, and what they could train on."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from boostlm.curation.arms import OWN
from boostlm.curation.policies import keep_own
from boostlm.curation.round import Labels, TrainingSet
from boostlm.errors import BoostError
from boostlm.experiment.context import RunContext
from boostlm.experiment.labeling import labels_from
from boostlm.experiment.round_arrays import Samples, Verdicts, committed
from boostlm.numerics import AnyArray
from boostlm.storage.ledger import Entry, Ledger, read_ledger
from boostlm.storage.run_dir import RoundDir


def labels_in_order(ledger: Ledger) -> list[Entry]:
    """The labels by prompt, then sample."""
    return [ledger.entries[pair] for pair in sorted(ledger.entries)]


def past_examples(ctx: RunContext, before: RoundDir, after: RoundDir, own: str) -> TrainingSet:
    """What an earlier round of training could train on.

    Args:
      ctx: the arm's context.
      before: the round whose model made the samples.
      after: the round of training.
      own: see `Arm.own`.

    Raises:
      BoostError: a file of these rounds is gone.
    """
    samples = committed(before.samples, Samples, ctx.train_shards)
    verdicts = committed(before.verdicts, Verdicts, ctx.train_shards)
    if samples is None or verdicts is None:
        gone = before.samples if samples is None else before.verdicts
        raise BoostError(f"{gone} is missing or torn, and the arm trains on the data of all rounds")
    kept_NxK = keep_own(OWN.index(own), verdicts.accepted)
    ledger = read_ledger(after.ledger)
    place_of = {pair: i for i, pair in enumerate(sorted(ledger.entries))}
    labels = labels_from(ctx, ledger, place_of, len(place_of))
    return TrainingSet(samples, kept_NxK, labels, jnp.asarray(labels.examples[0]))


def joined(sets: Sequence[TrainingSet]) -> TrainingSet:
    """The training sets of several rounds as one."""
    bought = sets if sets[-1].labels.examples is not None else sets[-1:]
    return TrainingSet(
        jax.tree.map(_side_by_side, *(s.responses for s in sets)),
        jnp.concatenate([s.kept_NxM for s in sets], axis=1),
        Labels(
            jax.tree.map(lambda *x: np.concatenate(x), *(s.labels.examples for s in bought)),
            jnp.concatenate([s.labels.kept_L for s in bought]),
        ),
        jnp.concatenate([s.prompt_id_L for s in bought]),
    )


def _side_by_side(*rounds: AnyArray) -> AnyArray:
    """Arrays [N, K, ...] of several rounds as [N, M, ...], split over devices as they were."""
    of = jnp if isinstance(rounds[0], jax.Array) else np
    return of.concatenate(rounds, axis=1)
