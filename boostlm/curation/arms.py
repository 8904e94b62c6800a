"""The arms: which of its own responses a model trains on, and where its labels go."""

from typing import NamedTuple

from jax import Array

LABEL_POLICIES = ("none", "uniform", "hardest")


class ArmSwitches(NamedTuple):
    """An arm as values that jitted code takes, so that one program serves all arms.

    Attributes:
      filtered: bool scalar, see `Arm`.
      policy: int32 scalar, the place of `Arm.labels` in LABEL_POLICIES.
    """

    filtered: bool | Array
    policy: int | Array


class Arm(NamedTuple):
    """A way of curating.

    Attributes:
      filtered: train on the accepted responses only; otherwise on all of them.
      labels: "none", "uniform" (every prompt alike) or "hardest" (failing prompts, by difficulty).

    Example:
      >>> boostlm.ARMS["boosting"]
      Arm(filtered=True, labels='hardest')
      >>> star = boostlm.Arm(filtered=True, labels="none")  # the same as filter_only
      >>> star == boostlm.ARMS["filter_only"]
      True
    """

    filtered: bool
    labels: str

    def switches(self) -> ArmSwitches:
        """The arm for jitted code."""
        return ArmSwitches(self.filtered, LABEL_POLICIES.index(self.labels))


ARMS = {
    "do_nothing": Arm(filtered=False, labels="none"),
    "filter_only": Arm(filtered=True, labels="none"),
    "uniform": Arm(filtered=True, labels="uniform"),
    "boosting": Arm(filtered=True, labels="hardest"),
}
"""The named arms, by name.

Example:
  >>> list(boostlm.ARMS)
  ['do_nothing', 'filter_only', 'uniform', 'boosting']
  >>> boostlm.ARMS["uniform"].labels
  'uniform'
"""
