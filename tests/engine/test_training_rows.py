"""Rows are taken on the devices from responses that are split over them."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from boostlm.engine.prompt_shards import split_prompts
from boostlm.engine.prompt_table import PromptTable
from boostlm.engine.training_rows import Examples, OwnResponses, no_examples, training_rows

N, K, R, L, B = 13, 3, 5, 4, 24


def padded(rng, width, *shape):
    """(tokens from 4 on, padded with 0, and their lengths, from 1 on)"""
    length = rng.integers(1, width + 1, shape).astype(np.int32)
    tokens = rng.integers(4, 99, (*shape, width)).astype(np.int32)
    return np.where(np.arange(width) < length[..., None], tokens, 0), length


RNG = np.random.default_rng(0)
PROMPTS = PromptTable(np.zeros(0, np.int32), *padded(RNG, 6, N))
OWN = padded(RNG, R, N, K)
LABELS = Examples(np.array([3, 3, 12, 0], np.int32), *padded(RNG, R, L))


def as_plain(index, valid, places):
    """One row as lists of numbers: its tokens, and the weight of each."""
    if index < places * K:
        n, (tokens, length) = (
            index // K,
            (OWN[0][index // K, index % K], OWN[1][index // K, index % K]),
        )
    else:
        label = index - places * K
        n, tokens, length = (
            LABELS.prompt_id_L[label],
            LABELS.tokens_LxR[label],
            LABELS.length_L[label],
        )
    prompt = PROMPTS.tokens_NxP[n][: PROMPTS.length_N[n]].tolist()
    row = prompt + tokens[:length].tolist()
    weight = [0.0] * len(prompt) + [float(valid)] * int(length)
    rest = 6 + R - len(row)
    return row + [0] * rest, weight + [0.0] * rest, len(row)


def own_on(devices):
    shards = split_prompts(devices, N)
    return shards, OwnResponses(*map(shards.put, OWN))


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_rows_are_prompt_and_response_wherever_the_response_is(devices, count):
    shards, own = own_on(devices[:count])
    own_places = shards.places * K
    rng = np.random.default_rng(1)
    index_C = np.concatenate(
        [rng.integers(0, N * K, 36), own_places + rng.integers(0, L, 12)]
    ).astype(np.int32)
    index_C, valid_C = rng.permutation(index_C), rng.random(48) < 0.8
    rows = training_rows(shards.mesh, PROMPTS, own, LABELS, index_C, valid_C)
    for step in (np.arange(B), np.arange(B, 2 * B)):
        batch = rows.take(step)
        want = [as_plain(index_C[c], valid_C[c], shards.places) for c in step]
        assert batch.tokens_BxT.tolist() == [tokens for tokens, _, _ in want]
        assert batch.weight_BxT.tolist() == [weight for _, weight, _ in want]
        assert rows.length_C[step].tolist() == [length for _, _, length in want]
        assert {s.data.shape[0] for s in batch.tokens_BxT.addressable_shards} == {B // count}


def test_without_own_responses_or_without_labels(devices):
    shards, own = own_on(devices)
    index_C, valid_C = np.arange(B, dtype=np.int32) % L, np.ones(B, bool)
    seeds = training_rows(shards.mesh, PROMPTS, None, LABELS, index_C, valid_C)
    both = training_rows(shards.mesh, PROMPTS, own, LABELS, index_C + shards.places * K, valid_C)
    for a, b in zip(seeds.take(np.arange(B)), both.take(np.arange(B)), strict=True):
        np.testing.assert_array_equal(a, b)
    alone = training_rows(shards.mesh, PROMPTS, own, no_examples(R), index_C, valid_C)
    beside = training_rows(shards.mesh, PROMPTS, own, LABELS, index_C, valid_C)
    for a, b in zip(alone.take(np.arange(B)), beside.take(np.arange(B)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_device_gathers_the_responses(devices):
    """What travels is a step's rows."""
    from boostlm.engine.training_rows import _programs

    shards, by_prompt = split_prompts(devices, 8 * 1009), P("data")
    at = NamedSharding(shards.mesh, by_prompt)
    tokens = jax.ShapeDtypeStruct((shards.places, K, R), np.int32, sharding=at)
    numbers = np.zeros(B, np.int32)
    _, rows_of = _programs(shards.mesh)
    program = rows_of.lower(
        tokens, numbers, np.zeros((B, R), np.int32), np.zeros((B, 6), np.int32), numbers, numbers, numbers > 0
    ).compile()  # fmt: skip
    assert f"s32[1009,{K},{R}]" in program.as_text()
    for whole in (8 * 1009, 8 * 1009 * K):
        assert f"[{whole}," not in program.as_text()
