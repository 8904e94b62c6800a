"""Reweights, allocates, filters, mixes and draws for millions of prompts with 8 verdicts each.

    python benchmarks/curation_scale.py [--prompts 10000000]

Prints the median and range of seconds over some calls after compilation, and the peak memory of the
process, including the verdicts. 10 million labels are allocated and listed; a million training rows
are drawn.
"""

import argparse
import resource
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from boostlm import (
    allocate,
    draw,
    expand,
    failing,
    initial_log_weights,
    mix,
    reweight,
    theta_from_beta,
)

SAMPLES, BUDGET, ROWS = 8, 10_000_000, 1_000_000


def curate(key, log_weight_N, accepted_NxK):
    """The curation of one round, over all prompts."""
    allocate_key, label_key, draw_key = jax.random.split(key, 3)
    failing_N = failing(accepted_NxK)
    log_weight_N = reweight(log_weight_N, failing_N, theta_from_beta(0.3))
    count_N = allocate(allocate_key, BUDGET, jnp.exp(log_weight_N), failing_N)
    prompt_L, valid_L = expand(count_N, BUDGET)
    kept_L = valid_L & (jax.random.uniform(label_key, valid_L.shape) < 0.3)
    mixture = mix(accepted_NxK, kept_L, 1 / 3)
    rows_C, _ = draw(draw_key, mixture, ROWS)
    return log_weight_N, prompt_L, mixture.weak, kept_L, rows_C


def main() -> None:
    """Times `curate` and prints one line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=10_000_000)
    parser.add_argument("--calls", type=int, default=7)
    args = parser.parse_args()
    prompts, rng = args.prompts, np.random.default_rng(0)
    accepted_NxK = rng.integers(0, 8, (prompts, SAMPLES), np.uint8) == 0
    accepted_NxK[rng.integers(0, 5, prompts, np.uint8) < 2] = False
    arrays = (jax.random.key(0), initial_log_weights(prompts), jnp.asarray(accepted_NxK))
    del accepted_NxK  # the copy on the host
    run = jax.jit(curate)
    _, _, weak, kept_L, rows_C = run(*arrays)
    assert int(jnp.sum(kept_L)) == int(weak) > 0
    assert len(np.unique(rows_C)) == ROWS  # none twice, as there are more examples than rows
    del kept_L, rows_C
    seconds = []
    for _ in range(args.calls):
        began = time.perf_counter()
        jax.block_until_ready(run(*arrays))
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{prompts:,} prompts x {SAMPLES} verdicts: median {statistics.median(seconds):.2f} s "
        f"(min {min(seconds):.2f}, max {max(seconds):.2f}), peak {peak:.2f} GiB"
    )


if __name__ == "__main__":
    main()
