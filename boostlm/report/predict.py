"""The theory's curve for a run: an ideal learner that starts where the run's seed model stood."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from boostlm.config import Config
from boostlm.config_io import arm_config, arms_of
from boostlm.curation.arms import Arm
from boostlm.curation.difficulty import theta_from_beta
from boostlm.curation.ideal_learner import FirstSamples, Trace, World, initial_table, simulate
from boostlm.curation.policies import switches_of
from boostlm.curation.round import Curation
from boostlm.errors import BoostError
from boostlm.experiment.round_arrays import Verdicts
from boostlm.report.run_data import Prediction
from boostlm.statistics.prior import draw_prior, draw_rates, fit_prior

DRAWS = 24  # of the prior, of each prompt's p and of the learner
BAND = 0.9  # part of the draws that the band holds


def predict(
    config: Config,
    starts: Mapping[str, Verdicts],
    beta_of: Mapping[str, float | None],
    seed: int = 0,
) -> dict[str, Prediction]:
    """Training accuracy by arm, as an ideal learner without generalisation would have it.

    Each draw takes a prior over prompts, then each prompt's p, by their probability given the
    verdicts on the seed model's samples. The first round curates these samples; the others are
    drawn.

    Args:
      config: of the run.
      starts: the verdicts on the seed model's samples that each arm starts from. Arms that are not
        in it are left out, and so are those whose own function is not there to be loaded.
      beta_of: the rate of right labels of each arm that buys labels. None means each prompt's own
        p, as for a frozen model. Arms that buy labels and are not in it are left out.
      seed: the seed of all draws.
    """
    known = {
        name: arm
        for name, arm in arms_of(config).items()
        if name in starts and (arm.labels == "none" or name in beta_of) and _loads(arm)
    }
    known = {n: arm for n, arm in known.items() if arm.as_many_as in ("", *known)}
    draws = {id(v): _Rates(v, seed) for v in starts.values()}
    found: dict[str, list[np.ndarray]] = {name: [] for name in known}
    for i in range(DRAWS):
        p_of = {start: rates.draw() for start, rates in draws.items()}
        kept: dict[str, np.ndarray] = {}
        for name, arm in known.items():
            as_many = known.get(arm.as_many_as, arm)
            trace = _simulated(
                arm_config(config, arm),
                arm,
                p_of[id(starts[name])],
                starts[name],
                beta_of.get(name, 0.0),
                jax.random.fold_in(jax.random.key(seed), i),
                kept.get(arm.as_many_as),
                arm_config(config, as_many).label.budget,
            )
            kept[name] = np.diff(trace.kept)
            found[name].append(np.asarray(trace.accuracy, np.float64))
    return {name: _prediction(np.stack(curves)) for name, curves in found.items()}


def _loads(arm: Arm) -> bool:
    try:
        switches_of(arm)
    except BoostError:
        return False
    return True


class _Rates:
    """Draws of each prompt's p, by their probability given verdicts on its samples."""

    def __init__(self, verdicts: Verdicts, seed: int) -> None:
        self._right_N, self._k = verdicts.correct.sum(axis=1), verdicts.correct.shape[1]
        self._rng = np.random.default_rng(seed)
        self._posterior = fit_prior(self._right_N, self._k)

    def draw(self) -> np.ndarray:
        prior = draw_prior(self._rng, self._posterior)
        return draw_rates(self._rng, prior, self._right_N, self._k)


def _simulated(
    config: Config,
    arm: Arm,
    p_N: np.ndarray,
    start: Verdicts,
    beta: float | None,
    key: jax.Array,
    budget_R: np.ndarray | None,
    places: int,
) -> Trace:
    """One draw of an arm's curve; `config` has the arm's own settings."""
    world = World(
        jnp.asarray(p_N if beta is None else np.full_like(p_N, beta), jnp.float32),
        config.filter.miss_rate,
        config.filter.false_accept_rate,
        config.label.filter_labels,
    )
    budget = config.label.budget if budget_R is None else jnp.asarray(budget_R)
    theta = theta_from_beta(config.label.beta)
    return simulate(
        key,
        initial_table(p_N),
        arm,
        Curation(theta, budget, config.train.alpha, places),
        world,
        config.rounds,
        config.sample.k,
        FirstSamples(jnp.asarray(start.correct), jnp.asarray(start.accepted)),
    )


def _prediction(accuracy_DxR: np.ndarray) -> Prediction:
    # "weibull" places the ends so that one more draw is between them in BAND of all cases.
    places = (1 - BAND) / 2, (1 + BAND) / 2
    low_R, high_R = np.quantile(accuracy_DxR, places, axis=0, method="weibull")
    return Prediction(accuracy_DxR.mean(axis=0).tolist(), low_R.tolist(), high_R.tolist())
