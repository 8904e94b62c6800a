"""Reweights, allocates, filters and mixes for 10 million prompts with 8 verdicts each.

    python benchmarks/curation_scale.py

Prints the median and range of seconds over 7 calls after compilation, and the peak memory of the
process, including the verdicts. Compaction lists the labels to buy (as many as there are prompts)
and the first 10 million accepted responses.
"""

import resource
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from boostlm import (
    allocate,
    expand,
    failing,
    initial_log_weights,
    mix,
    reweight,
    theta_from_beta,
)

PROMPTS, SAMPLES, BUDGET = 10_000_000, 8, 10_000_000


def curate(key, log_weight_N, accepted_NxK):
    """The curation of one round, over all prompts."""
    allocate_key, label_key = jax.random.split(key)
    failing_N = failing(accepted_NxK)
    log_weight_N = reweight(log_weight_N, failing_N, theta_from_beta(0.3))
    count_N = allocate(allocate_key, BUDGET, jnp.exp(log_weight_N), failing_N)
    prompt_L, valid_L = expand(count_N, BUDGET)
    kept_L = valid_L & (jax.random.uniform(label_key, valid_L.shape) < 0.3)
    mixture = mix(accepted_NxK, kept_L, 1 / 3)
    rows_C = expand(accepted_NxK.reshape(-1).astype(jnp.int32), PROMPTS)
    return log_weight_N, prompt_L, mixture, rows_C


def main() -> None:
    """Times `curate` and prints one line."""
    rng = np.random.default_rng(0)
    accepted_NxK = rng.integers(0, 8, (PROMPTS, SAMPLES), np.uint8) == 0
    accepted_NxK[rng.integers(0, 5, PROMPTS, np.uint8) < 2] = False
    arrays = (jax.random.key(0), initial_log_weights(PROMPTS), jnp.asarray(accepted_NxK))
    del accepted_NxK  # the copy on the host
    run = jax.jit(curate)
    mixture = jax.block_until_ready(run(*arrays))[2]
    assert int(jnp.sum(mixture.weak_L > 0)) == int(mixture.weak) > 0
    del mixture
    seconds = []
    for _ in range(7):
        began = time.perf_counter()
        jax.block_until_ready(run(*arrays))
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{PROMPTS:,} prompts x {SAMPLES} verdicts: median {statistics.median(seconds):.2f} s "
        f"(min {min(seconds):.2f}, max {max(seconds):.2f}), peak {peak:.2f} GiB"
    )


if __name__ == "__main__":
    main()
