"""An arm of your own, with an allocation of your own: labels for prompts that failed for long.

boostlm run --arms boosting,examples/own_arm.py:patient
"""

import jax.numpy as jnp

from boostlm import Arm

# Everything that is not named is as in filter_only. `train.alpha` is of this arm alone.
patient = Arm(labels="examples/own_arm.py:long_failing", overrides={"train.alpha": 0.5})


def long_failing(weight_N, failures_N, accepted_NxK):
    """Labels go to prompts that fail for the second time or more, or if none does, to any."""
    failing_N = ~jnp.any(accepted_NxK, axis=1)
    again_N = failing_N & (failures_N >= 2)
    return jnp.where(jnp.any(again_N), again_N, failing_N) * weight_N
