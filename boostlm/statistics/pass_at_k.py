"""pass@k: the chance that at least one of k sampled responses is correct."""

import numpy as np


def pass_at_k(correct_NxS: np.ndarray, k: int) -> np.ndarray:
    """The unbiased estimate for each prompt, from S >= k samples of which c are correct.

    1 - C(S - c, k) / C(S, k) is the chance that k of the S samples, drawn without replacement, hold
    a correct one (Chen et al., "Evaluating Large Language Models Trained on Code", 2021). Here the
    quotient is the product of (S - c - j) / (S - j) over j < k: every factor is in [0, 1], so
    nothing overflows or cancels however large S is.

    Args:
      correct_NxS: bool [N, S].
      k: from 1 to S.

    Returns:
      float64 [N] in [0, 1].
    """
    S = correct_NxS.shape[1]
    if not 1 <= k <= S:
        raise ValueError(f"pass@{k} cannot be estimated from {S} samples")
    wrong_Nx1 = S - np.sum(correct_NxS, axis=1, dtype=np.int64, keepdims=True)
    drawn_K = np.arange(k)
    return 1.0 - np.prod(np.maximum(wrong_Nx1 - drawn_K, 0) / (S - drawn_K), axis=1)


def reported_ks(samples: int) -> list[int]:
    """Which k a table shows: 1, 2, 4, ... and the number of samples itself."""
    powers = [2**i for i in range(max(samples, 1).bit_length()) if 2**i < samples]
    return [*powers, samples] if samples else []


def pass_means(correct_NxS: np.ndarray) -> dict[str, float]:
    """Mean over prompts for each of `reported_ks`; the keys are text, as JSON has them."""
    ks = reported_ks(correct_NxS.shape[1])
    return {str(k): float(np.mean(pass_at_k(correct_NxS, k))) for k in ks}
