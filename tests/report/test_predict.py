"""The theory's curve: its band contains the truth of an ideal learner, for every arm."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.runs import tiny_config

from boostlm import ARMS, Curation, theta_from_beta
from boostlm.config import FOUR_ARMS, FilterConfig, LabelConfig, SampleConfig
from boostlm.curation.ideal_learner import (
    FirstSamples,
    World,
    initial_table,
    sample_table,
    simulate,
)
from boostlm.curation.mixture import noisy_verdict
from boostlm.experiment.round_arrays import Verdicts
from boostlm.report.predict import predict
from boostlm.statistics.prior import draw_prior, draw_rates, fit_prior

N, K, BETA, ROUNDS = 300, 8, 0.3, 4
PRIORS = {
    "Beta(1, 1.5)": lambda rng, n: rng.beta(1, 1.5, n),
    "Beta(0.3, 2.7)": lambda rng, n: rng.beta(0.3, 2.7, n),
    "many never": lambda rng, n: np.where(rng.random(n) < 0.4, 0.0, rng.beta(2, 2, n)),
}


def config_of(miss=0.0, false_accept=0.0):
    return tiny_config(
        rounds=ROUNDS,
        sample=SampleConfig(k=K),
        filter=FilterConfig(miss, false_accept),
        label=LabelConfig(beta=BETA, budget=N // 4),
    )


def starts(correct_NxK, accepted_NxK):
    return dict.fromkeys(FOUR_ARMS, Verdicts(correct_NxK, accepted_NxK))


def one_run(config, p_N, seed):
    """An ideal learner's run: what its seed model showed, and each arm's accuracy by round."""
    key = jax.random.key(seed)
    rates = config.filter.miss_rate, config.filter.false_accept_rate
    answer_NxK = sample_table(jax.random.fold_in(key, 7), initial_table(p_N), K)
    correct_NxK = answer_NxK == 0
    accepted_NxK = noisy_verdict(jax.random.fold_in(key, 8), correct_NxK, *rates)
    curation = Curation(theta_from_beta(BETA), config.label.budget, config.train.alpha)
    world = World(jnp.float32(BETA), *rates, config.label.filter_labels)
    first = FirstSamples(correct_NxK, accepted_NxK)
    truth = {
        arm: np.asarray(
            simulate(key, initial_table(p_N), ARMS[arm], curation, world, ROUNDS, K, first).accuracy
        )
        for arm in FOUR_ARMS
    }
    return np.asarray(correct_NxK), np.asarray(accepted_NxK), truth


@pytest.mark.slow
@pytest.mark.parametrize(("miss", "false_accept"), [(0.1, 0.1)])
def test_the_truth_is_in_the_band(miss, false_accept):
    """Of each arm, after the last round. benchmarks/statistics_check.py makes 100 runs of it."""
    config, rng, runs = config_of(miss, false_accept), np.random.default_rng(1), 4
    held = dict.fromkeys(FOUR_ARMS, 0)
    for seed in range(runs):
        p_N = list(PRIORS.values())[seed % 3](rng, N)
        correct, accepted, truth = one_run(config, p_N, seed)
        found = predict(config, starts(correct, accepted), dict.fromkeys(FOUR_ARMS, BETA), seed)
        for arm in FOUR_ARMS:
            held[arm] += found[arm].low[-1] <= truth[arm][-1] <= found[arm].high[-1]
    assert all(count >= runs - 1 for count in held.values()), held


@pytest.mark.parametrize("name", PRIORS)
def test_the_fitted_prior_is_unbiased_where_the_share_of_right_answers_is_not(name):
    """The share solved by one of 40 draws, read off 8 verdicts."""
    rng = np.random.default_rng(0)
    p_N = PRIORS[name](rng, 4000)
    right_N = rng.binomial(K, p_N)
    truth = np.mean(1 - (1 - p_N) ** 40)
    posterior = fit_prior(right_N, K)
    draws = [
        np.mean(1 - (1 - draw_rates(rng, draw_prior(rng, posterior), right_N, K)) ** 40)
        for _ in range(20)
    ]
    plugged_in = np.mean(1 - (1 - right_N / K) ** 40)
    assert np.mean(draws) == pytest.approx(truth, abs=0.02)
    assert abs(np.mean(draws) - truth) < 0.5 * abs(plugged_in - truth)


@pytest.mark.parametrize("right", [0, K])
def test_a_prior_of_prompts_that_are_all_alike(right):
    """Never, or always, right: nothing is divided by 0."""
    posterior, rng = fit_prior(np.full(50, right), K), np.random.default_rng(0)
    p_N = draw_rates(rng, draw_prior(rng, posterior), np.full(50, right), K)
    assert posterior.weight_G.sum() == pytest.approx(1)
    assert np.mean(p_N) == pytest.approx(right / K, abs=0.05)


@pytest.mark.slow
def test_round_0_is_what_was_measured_and_arms_without_a_rate_are_left_out():
    config, rng = config_of(), np.random.default_rng(0)
    correct, accepted, _ = one_run(config, PRIORS["Beta(1, 1.5)"](rng, N), 3)
    found = predict(config, starts(correct, accepted), {})
    assert set(found) == {"do_nothing", "filter_only"}
    assert all(p.low[0] - 0.01 <= correct.mean() <= p.high[0] + 0.01 for p in found.values())
    assert all(len(p.mean) == ROUNDS + 1 for p in found.values())


def test_an_arm_whose_function_is_gone_has_no_curve():
    config = replace(config_of(), arms=("gone=Arm(labels=gone.py:f)",))
    correct = np.zeros((N, K), bool)
    assert predict(config, {"gone": Verdicts(correct, correct)}, {"gone": BETA}) == {}


@pytest.mark.slow
def test_a_frozen_model_does_not_help_where_it_is_never_right():
    config = config_of()
    correct = np.zeros((N, K), bool)
    told = predict(config, starts(correct, correct), {"boosting": BETA})["boosting"]
    own = predict(config, starts(correct, correct), {"boosting": None})["boosting"]
    assert told.mean[-1] > 0.2
    assert own.mean[-1] < 0.05
