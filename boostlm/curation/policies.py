"""What the choices of an arm do, as jitted functions over prompts; one program serves all arms."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from boostlm.curation.arms import DATA, LABELS, OWN, START, Arm
from boostlm.curation.mixture import Mixture, failing
from boostlm.errors import BoostError
from boostlm.numerics import FIXED_POINT_BITS, fixed_point_sum, to_fixed_point
from boostlm.user_code import load_named

# (weight_N, failures_N, accepted_NxK) -> share_N; see `Arm.labels`.
Allocation = Callable[[Array, Array, Array], Array]

_SMALLEST = 2.0**-126  # a weight that underflows keeps a share


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("own", "labels", "weigh_training", "from_seed", "all_data"),
    meta_fields=("allocation",),
)
@dataclasses.dataclass(frozen=True)
class ArmSwitches:
    """An arm as values that jitted code takes. Only a function of one's own is compiled anew.

    Attributes:
      own: int32 scalar, the place of `Arm.own` in OWN.
      labels: int32 scalar, the place of `Arm.labels` in LABELS; one more for one's own.
      weigh_training: bool scalar, see `Arm`.
      from_seed: bool scalar, whether a round starts from the seed model.
      all_data: bool scalar, whether it trains on the data of all rounds.
      allocation: one's own function, or None.
    """

    own: int | Array
    labels: int | Array
    weigh_training: bool | Array
    from_seed: bool | Array
    all_data: bool | Array
    allocation: Allocation | None = None


def switches_of(arm: Arm) -> ArmSwitches:
    """An arm for jitted code.

    Raises:
      BoostError: its own function cannot be loaded.
    """
    own = None if arm.labels in LABELS else _load_allocation(arm.labels)
    return ArmSwitches(
        OWN.index(arm.own),
        LABELS.index(arm.labels) if own is None else len(LABELS),
        arm.weigh_training,
        bool(START.index(arm.start)),
        bool(DATA.index(arm.data)),
        own,
    )


@functools.cache
def _load_allocation(name: str) -> Allocation:
    """One's own function; the same object each time, so that it is compiled once."""
    function = load_named(name, "arms: labels")
    shapes = [jax.ShapeDtypeStruct((3,), d) for d in (jnp.float32, jnp.int32)]
    try:
        share = jax.eval_shape(function, *shapes, jax.ShapeDtypeStruct((3, 2), jnp.bool_))
        problem = "" if share.shape == (3,) else f"returns shape {share.shape} for 3 prompts"
    except Exception as error:
        problem = f"fails: {type(error).__name__}: {error}"
    if problem:
        raise BoostError(
            f"arms: labels: {name} {problem}. It takes weight_N, failures_N and accepted_NxK in "
            "JAX, and returns share_N"
        )
    return function


def share_of(
    arm: ArmSwitches,
    weight_N: Array,
    failures_N: Array,
    accepted_NxK: Array,
    valid_N: bool | Array = True,
) -> Array:
    """What each prompt's labels are in proportion to: float32 [N], 0 for none.

    Args:
      arm: the way of curating.
      weight_N: float32, difficulty weights, this round's failures included.
      failures_N: int32, rounds that each prompt has failed, this one included.
      accepted_NxK: bool, the filter's verdicts.
      valid_N: bool, False for padding, which gets nothing.
    """
    failing_N = failing(accepted_NxK, valid_N)
    weight_N = jnp.maximum(weight_N, _SMALLEST)
    least = jnp.min(jnp.where(valid_N, weight_N, jnp.inf))

    def own(weight_N: Array) -> Array:
        assert arm.allocation is not None
        return jnp.maximum(arm.allocation(weight_N, failures_N, accepted_NxK), 0.0)

    shares: dict[str, Callable[[Array], Array]] = {
        "none": jnp.zeros_like,
        "uniform": jnp.ones_like,
        "failing": lambda weight_N: failing_N,
        "hardest": lambda weight_N: jnp.where(failing_N, weight_N, 0.0),
        "easiest": lambda weight_N: jnp.where(failing_N, least / weight_N, 0.0),
        # Weights rise in round 0 only: the prompts that failed then have the largest.
        "static": lambda weight_N: weight_N == jnp.max(weight_N),
    }
    branches = [functools.partial(_as_float, shares[name]) for name in LABELS]
    if arm.allocation is not None:
        branches.append(functools.partial(_as_float, own))
    return jnp.where(valid_N, jax.lax.switch(arm.labels, branches, weight_N), 0.0)


def _as_float(share: Callable[[Array], Array], weight_N: Array) -> Array:
    return share(weight_N).astype(jnp.float32)


def keep_own(own: int | Array, accepted_NxK: Array) -> Array:
    """The own responses to train on: bool [N, K].

    Args:
      own: the place of `Arm.own` in OWN. Of a prompt's responses, which are alike in distribution,
        "one" keeps the first accepted one.
      accepted_NxK: bool, the filter's verdicts.
    """
    first_NxK = accepted_NxK & (jnp.cumsum(accepted_NxK, axis=1) == 1)
    kept = {
        "accepted": accepted_NxK,
        "all": jnp.ones_like(accepted_NxK),
        "one": first_NxK,
        "none": jnp.zeros_like(accepted_NxK),
    }
    return jnp.stack([kept[name] for name in OWN])[own]


def by_difficulty(mixture: Mixture, weight_N: Array, prompt_id_L: Array) -> Mixture:
    """The mixture with each example's weight in proportion to its prompt's difficulty weight.

    Own responses as a whole, and labels as a whole, keep their part of the mixture.

    Args:
      mixture: with equal weights among own responses, and among labels.
      weight_N: float32, not negative.
      prompt_id_L: int32, the labels' prompts.
    """
    relative_N = weight_N / jnp.max(weight_N)
    own = _in_proportion(mixture.synthetic_NxK, relative_N[:, None])
    weak = _in_proportion(mixture.weak_L, relative_N[prompt_id_L])
    return mixture._replace(synthetic_NxK=own, weak_L=weak)


def _in_proportion(weight: Array, relative: Array) -> Array:
    """Weights times `relative` in [0, 1], rounded to 2**-16, with the same sum."""
    largest = jnp.maximum(jnp.max(weight, initial=0.0), _SMALLEST)
    before = to_fixed_point(weight / largest)
    after = to_fixed_point(weight / largest * relative)
    total = fixed_point_sum(before) / jnp.maximum(fixed_point_sum(after), 1.0)
    return after.astype(jnp.float32) * 2.0**-FIXED_POINT_BITS * total * largest
