"""Buying a round's labels: each is in the ledger, with its verdict, before the next are asked."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from boostlm.errors import BoostError
from boostlm.curation.mixture import noisy_verdict
from boostlm.prng import Purpose, round_key
from boostlm.curation.round import LabelRequest, Labels
from boostlm.labelers.base import Label, Labeler, Query
from boostlm.runtime import multihost as hosts
from boostlm.storage.ledger import Entry, Ledger
from boostlm.engine.prompt_table import pad_rows
from boostlm.experiment.context import Workbench


def buy(
    bench: Workbench,
    labeler: Labeler,
    ledger: Ledger,
    seed: int,
    arm: str,
    round_: int,
    request: LabelRequest,
    within: Callable[[int, int], None],
) -> Labels:
    """Buys the requested labels that the ledger does not hold yet, and tokenizes all of them.

    Args:
      bench: the run's surroundings.
      labeler: who is asked.
      ledger: of this seed, arm and round.
      seed: repeat of the experiment.
      arm: who buys.
      round_: when, 0-based.
      request: L places.
      within: called as (labels in the ledger, labels wanted) after each commit.

    Returns:
      Labels whose examples are (prompt_L, tokens_LxR, length_L), int32.

    Raises:
      BoostError: the ledger holds what was not asked for, or the labeler's own; labels that it
        gave before are kept.
    """
    wanted_at = np.flatnonzero(np.asarray(request.valid_L))
    prompt_L, sample_L = np.asarray(request.prompt_id_L), np.asarray(request.sample_L)
    place_of = {(int(prompt_L[i]), int(sample_L[i])): int(i) for i in wanted_at}
    strange = ledger.entries.keys() - place_of.keys()
    if strange:
        raise BoostError(
            f"{ledger.path} holds labels that this run would not buy, such as for prompt "
            f"{min(strange)[0]}: it was made by other code or data. Nothing was changed"
        )
    texts = bench.task.prompts["train"].texts
    missing = {
        (prompt, sample): Query(seed, round_, prompt, sample, texts[prompt])
        for prompt, sample in place_of
        if (prompt, sample) not in ledger.entries
    }
    if missing:
        accepts = _filter(bench, seed, round_, len(request.valid_L))
        for batch in labeler(list(missing.values())):
            for query, _ in batch:
                missing.pop((query.prompt, query.sample))  # KeyError: not asked, or given twice
            places = [place_of[query.prompt, query.sample] for query, _ in batch]
            ledger.append(_judged(bench, arm, batch, [accepts[i] for i in places]))
            within(len(ledger.entries), len(place_of))
            hosts.leave_if_preempted()
    if missing:
        raise BoostError(f"the labeler gave no label for {len(missing)} of the queries")
    return _labels_from(bench, ledger, place_of, len(request.valid_L))


def _filter(bench: Workbench, seed: int, round_: int, L: int) -> list[dict[bool, bool]]:
    """For each place, the filter's verdict on an incorrect and on a correct label."""
    rates = (bench.config.filter.miss_rate, bench.config.filter.false_accept_rate)
    key = round_key(seed, Purpose.LABEL_FILTER, round_)
    of_wrong, of_right = (
        np.asarray(noisy_verdict(key, jnp.full((L,), correct), *rates)).tolist()
        for correct in (False, True)
    )
    return [{False: w, True: r} for w, r in zip(of_wrong, of_right, strict=True)]


def _judged(
    bench: Workbench,
    arm: str,
    batch: Sequence[tuple[Query, Label]],
    accepts: Sequence[dict[bool, bool]],
) -> list[Entry]:
    """The ledger's entries for a batch. A label that was cut off is never correct and not kept."""
    right = bench.verify([query.prompt for query, _ in batch], [label.text for _, label in batch])
    entries = []
    for (query, label), correct, verdict in zip(batch, right.tolist(), accepts, strict=True):
        correct = correct and label.finished
        accepted = verdict[correct]
        fits = label.finished and _fits(bench, label.text)
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
                finished=label.finished,
                correct=correct,
                accepted=accepted,
                kept=fits and (accepted or not bench.config.label.filter_labels),
            )
        )
    return entries


def _fits(bench: Workbench, text: str) -> bool:
    """Whether a label can be trained on: the tokenizer knows its characters, and it is not long."""
    try:
        tokens = bench.tokenizer.encode_response(text)
    except BoostError:
        return False
    return len(tokens) <= bench.config.sample.max_new_tokens


def _labels_from(bench: Workbench, ledger: Ledger, place_of: dict, L: int) -> Labels:
    """The ledger's labels in the order of the request."""
    R = bench.config.sample.max_new_tokens
    kept_L = np.zeros((L,), bool)
    prompt_L = np.zeros((L,), np.int32)
    rows: list[list[int]] = [[] for _ in range(L)]
    for pair, place in place_of.items():
        entry = ledger.entries[pair]
        prompt_L[place] = entry.prompt
        if entry.kept:
            kept_L[place] = True
            rows[place] = bench.tokenizer.encode_response(entry.text)
    length_L = np.array([len(r) for r in rows], np.int32)
    return Labels((prompt_L, pad_rows(rows, R), length_L), jnp.asarray(kept_L))
