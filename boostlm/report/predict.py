"""The theory's curve for a run: an ideal learner that starts where the run's seed model stood."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from boostlm.config import Config
from boostlm.curation.arms import ARMS
from boostlm.curation.difficulty import theta_from_beta
from boostlm.curation.ideal_learner import FirstSamples, World, initial_table, simulate
from boostlm.curation.round import Curation
from boostlm.report.run_data import Prediction
from boostlm.statistics.prior import draw_prior, draw_rates, fit_prior

DRAWS = 24  # of the prior, of each prompt's p and of the learner
BAND = 0.9  # part of the draws that the band holds


def predict(
    config: Config,
    correct_NxK: np.ndarray,
    accepted_NxK: np.ndarray,
    beta_of: Mapping[str, float | None],
    seed: int = 0,
) -> dict[str, Prediction]:
    """Training accuracy by arm, as an ideal learner without generalisation would have it.

    Each draw takes a prior over prompts, then each prompt's p, by their probability given the
    verdicts on the seed model's samples. The first round curates these samples; the others are
    drawn.

    Args:
      config: the run's config.
      correct_NxK: bool, exact verdicts on the seed model's samples.
      accepted_NxK: bool, the filter's.
      beta_of: the rate of right labels of each arm that buys labels. None means each prompt's own
        p, as for a frozen model. Arms that buy labels and are not in it are left out.
      seed: the seed of all draws.
    """
    k, rng = correct_NxK.shape[1], np.random.default_rng(seed)
    right_N = correct_NxK.sum(axis=1)
    posterior = fit_prior(right_N, k)
    first = FirstSamples(jnp.asarray(correct_NxK), jnp.asarray(accepted_NxK))
    curation = Curation(theta_from_beta(config.label.beta), config.label.budget, config.train.alpha)
    arms = [arm for arm in config.arms if ARMS[arm].labels == "none" or arm in beta_of]
    found: dict[str, list[np.ndarray]] = {arm: [] for arm in arms}
    for i in range(DRAWS):
        p_N = draw_rates(rng, draw_prior(rng, posterior), right_N, k)
        for arm in arms:
            beta = beta_of.get(arm, 0.0)
            world = World(
                jnp.asarray(p_N if beta is None else np.full_like(p_N, beta), jnp.float32),
                config.filter.miss_rate,
                config.filter.false_accept_rate,
                config.label.filter_labels,
            )
            trace = simulate(
                jax.random.fold_in(jax.random.key(seed), i),
                initial_table(p_N),
                ARMS[arm],
                curation,
                world,
                config.rounds,
                config.sample.k,
                first,
            )
            found[arm].append(np.asarray(trace.accuracy, np.float64))
    return {arm: _prediction(np.stack(draws)) for arm, draws in found.items()}


def _prediction(accuracy_DxR: np.ndarray) -> Prediction:
    # "weibull" places the ends so that one more draw is between them in BAND of all cases.
    places = (1 - BAND) / 2, (1 + BAND) / 2
    low_R, high_R = np.quantile(accuracy_DxR, places, axis=0, method="weibull")
    return Prediction(accuracy_DxR.mean(axis=0).tolist(), low_R.tolist(), high_R.tolist())
