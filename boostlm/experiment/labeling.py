"""A round's labels: each is in the ledger, with its verdict, before the next ones are requested."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from boostlm.curation.mixture import noisy_verdict
from boostlm.curation.round import LabelRequest, Labels
from boostlm.engine.prompt_table import pad_rows
from boostlm.engine.sampler import OnProgress
from boostlm.engine.training_rows import Examples
from boostlm.errors import BoostError
from boostlm.experiment.context import RunContext
from boostlm.labelers.base import Label, Labeler, Query
from boostlm.prng import Purpose, round_key
from boostlm.runtime.multihost import gather_shards, raise_if_preempted
from boostlm.storage.ledger import Entry, Ledger
from boostlm.storage.run_dir import RoundId


def label_round(
    ctx: RunContext,
    labeler: Labeler,
    ledger: Ledger,
    id_: RoundId,
    request: LabelRequest,
    progress: OnProgress,
) -> Labels:
    """Buys the requested labels that the ledger does not hold yet, and tokenizes all of them.

    Args:
      ctx: the run's context.
      labeler: gives the labels.
      ledger: this round's ledger.
      id_: the round of training that the labels are for.
      request: L places.
      progress: called as (labels in the ledger, labels requested) after each commit.

    Returns:
      Labels whose examples are `Examples`; numpy arrays, the same on all hosts.

    Raises:
      BoostError: the ledger holds labels that were not requested, or the labeler fails; the labels
        that it gave before are kept.
    """
    requested = np.flatnonzero(np.asarray(request.valid_L))
    prompt_L, sample_L = np.asarray(request.prompt_id_L), np.asarray(request.sample_L)
    place_of = {(int(prompt_L[i]), int(sample_L[i])): int(i) for i in requested}
    unknown = ledger.entries.keys() - place_of.keys()
    if unknown:
        raise BoostError(
            f"{ledger.path} holds labels that this run would not buy, for example for prompt "
            f"{min(unknown)[0]}: other code or data made it. Nothing was changed"
        )
    texts = ctx.task.prompts["train"].texts
    missing = {
        (prompt, sample): Query(id_.seed, id_.round, prompt, sample, texts[prompt])
        for prompt, sample in place_of
        if (prompt, sample) not in ledger.entries
    }
    if missing:
        accepts = _filter(ctx, id_, len(request.valid_L))
        for batch in labeler(list(missing.values())):
            for query, _ in batch:
                missing.pop((query.prompt, query.sample))  # KeyError: not requested, or given twice
            places = [place_of[query.prompt, query.sample] for query, _ in batch]
            ledger.append(_entries(ctx, id_.arm, batch, [accepts[i] for i in places]))
            progress(len(ledger.entries), len(place_of))
            raise_if_preempted()
    if missing:
        raise BoostError(f"the labeler gave no label for {len(missing)} of the queries")
    ledger.close()
    return labels_from(ctx, ledger, place_of, len(request.valid_L))


def _filter(ctx: RunContext, id_: RoundId, L: int) -> list[dict[bool, bool]]:
    """For each place, the filter's verdict on an incorrect and on a correct label."""
    rates = (ctx.config.filter.miss_rate, ctx.config.filter.false_accept_rate)
    key = round_key(id_.seed, Purpose.LABEL_FILTER, id_.round - 1)
    of_wrong, of_right = (
        np.asarray(noisy_verdict(key, jnp.full((L,), correct), *rates)).tolist()
        for correct in (False, True)
    )
    return [{False: w, True: r} for w, r in zip(of_wrong, of_right, strict=True)]


def _entries(
    ctx: RunContext,
    arm: str,
    batch: Sequence[tuple[Query, Label]],
    accepts: Sequence[dict[bool, bool]],
) -> list[Entry]:
    """The ledger's entries for a batch. An unanswered label is not correct, accepted or kept."""
    ids, texts = [query.prompt for query, _ in batch], [label.text for _, label in batch]
    right = gather_shards(
        len(batch),
        lambda i: ctx.grade([ids[j] for j in i], [texts[j] for j in i]),
        "the verifier",
    )
    entries = []
    for (query, label), correct, verdict in zip(batch, right.tolist(), accepts, strict=True):
        answered = not label.unanswered
        correct = correct and answered
        accepted = answered and verdict[correct]
        trainable = answered and _has_tokens(ctx, label.text)
        entries.append(
            Entry(
                seed=query.seed,
                arm=arm,
                round=query.round,
                prompt=query.prompt,
                sample=query.sample,
                source=label.source,
                cost=label.cost,
                text=label.text,
                unanswered=label.unanswered,
                correct=correct,
                accepted=accepted,
                kept=trainable and (accepted or not ctx.config.label.filter_labels),
                written=label.written,
            )
        )
    return entries


def _has_tokens(ctx: RunContext, text: str) -> bool:
    """Whether the tokenizer has tokens for a text, and not more than a response may have."""
    try:
        tokens = ctx.tokenizer.encode_response(text)
    except BoostError:
        return False
    return len(tokens) <= ctx.config.sample.max_new_tokens


def labels_from(
    ctx: RunContext, ledger: Ledger, place_of: dict[tuple[int, int], int], L: int
) -> Labels:
    """The ledger's labels, each in the place of its prompt and sample, of L places."""
    R = ctx.config.sample.max_new_tokens
    kept_L = np.zeros((L,), bool)
    prompt_L = np.zeros((L,), np.int32)
    rows: list[list[int]] = [[] for _ in range(L)]
    for pair, place in place_of.items():
        entry = ledger.entries[pair]
        prompt_L[place] = entry.prompt
        if entry.kept:
            kept_L[place] = True
            rows[place] = ctx.tokenizer.encode_response(entry.text)
    length_L = np.array([len(r) for r in rows], np.int32)
    return Labels(Examples(prompt_L, pad_rows(rows, R), length_L), kept_L)
