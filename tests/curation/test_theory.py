"""The ideal learner: closed forms against the Monte Carlo that shares the curation code."""

import functools
import math

import jax
import numpy as np
import pytest

from boostlm import ARMS, Curation, theta_from_beta
from boostlm.curation import theory
from boostlm.curation.ideal_learner import World, initial_table, simulate

pytestmark = pytest.mark.slow

N = 6000


@functools.cache
def start(low=0.0, high=0.6):
    return np.random.default_rng(0).uniform(low, high, N)


def run(arm, *, world, budget=0, k=1, rounds=4, p=None, theta=0.0):
    """The recursions give every failing prompt a label; with theta 0, so does a budget of N."""
    p = start() if p is None else p
    curation = Curation(theta, budget, 1 / 3)
    return simulate(jax.random.key(1), initial_table(p), ARMS[arm], curation, world, rounds, k)


def within(measured, expected, sigmas=4.5):
    """Sampling error of a mean of N chances, generously."""
    assert measured == pytest.approx(expected, abs=sigmas * 0.5 / math.sqrt(N))


@pytest.mark.parametrize(("m", "a"), [(0, 0), (0.1, 0.1), (0.3, 0.0), (0.0, 0.2)])
@pytest.mark.parametrize("beta", [0.1, 0.3])
def test_boosting_recursion(beta, m, a):
    p = float(start().mean())
    trace = run("boosting", world=World(beta, m, a), budget=N, rounds=5)
    for measured in trace.accuracy:
        within(measured, p)
        p = float(theory.boosting(p, beta, m, a))


def test_perfect_filter_error_shrinks_by_one_minus_beta():
    p, beta = 0.2, 0.3
    for r in range(12):
        assert 1 - p == pytest.approx(0.8 * (1 - beta) ** r)
        p = theory.boosting(p, beta)


@pytest.mark.parametrize(("m", "a"), [(0.1, 0.1), (0.05, 0.2), (0.3, 0.0), (0.0, 0.3)])
def test_boosting_comes_to_rest_at_the_fixed_point(m, a):
    p = 0.1
    for _ in range(5000):
        p = theory.boosting(p, 0.2, m, a)
    assert p == pytest.approx(theory.boosting_fixed_point(0.2, m, a), abs=1e-9)


def test_fixed_point_with_equal_error_rates():
    beta, gamma = 0.2, 0.1
    expected = beta * (1 - gamma) / (gamma + beta * (1 - 2 * gamma))
    assert theory.boosting_fixed_point(beta, gamma, gamma) == pytest.approx(expected)
    assert theory.boosting_fixed_point(beta) == 1


def test_boosting_simulation_comes_to_rest_there_too():
    trace = run("boosting", world=World(0.3, 0.1, 0.1), budget=N, rounds=25)
    within(np.mean(trace.accuracy[-5:]), theory.boosting_fixed_point(0.3, 0.1, 0.1))


def test_do_nothing_gains_nothing_and_loses_diversity():
    k = 8
    p = np.full(N, 0.3)
    trace = run("do_nothing", world=World(0.3), k=k, rounds=12, p=p)
    for measured in trace.accuracy:
        within(measured, 0.3, sigmas=6)  # a martingale: the noise of 12 rounds adds up
    assert all(after < before for before, after in zip(trace.distinct, trace.distinct[1:]))
    assert trace.distinct[-1] < 0.5 * trace.distinct[0]
    assert not np.any(trace.labels)


def test_do_nothing_diversity_shrinks_by_one_minus_one_over_k():
    """Chance that two draws differ, 1 - sum q^2, of a table trained on k own draws."""
    k, answers = 4, 17
    rng = np.random.default_rng(0)
    q = np.full((20_000, answers), 1 / answers)
    diversity = 1 - (q**2).sum(axis=1).mean()
    for _ in range(3):
        q = rng.multinomial(k, q) / k
        expected = theory.do_nothing_diversity(diversity, k)
        diversity = 1 - (q**2).sum(axis=1).mean()
        assert diversity == pytest.approx(expected, abs=0.01)


def test_filter_only_stops_at_the_prompts_it_could_solve():
    p = np.where(np.arange(N) % 2 == 0, 0.0, 0.3)
    trace = run("filter_only", world=World(0.3), k=8, rounds=8, p=p)
    after_one = theory.solved_in_one_round(p, 8) + np.mean(p * (1 - p) ** 8)
    within(trace.accuracy[1], after_one)  # a prompt with no accepted draw keeps its row
    assert trace.accuracy[-1] <= 0.5 + 1e-6  # prompts with p = 0 are never solved
    assert trace.accuracy[-1] > 0.49


def test_filter_only_multiplies_the_odds():
    m, a, p, k = 0.2, 0.05, np.full(600, 0.4), 200
    trace = run("filter_only", world=World(0.3, m, a), k=k, rounds=2, p=p)
    expected = 0.4
    for measured in trace.accuracy:
        assert measured == pytest.approx(expected, abs=0.01)
        expected = float(theory.filter_only(expected, m, a))
    odds = 0.4 / 0.6 * (1 - m) / a
    assert float(theory.filter_only(0.4, m, a)) == pytest.approx(odds / (1 + odds))


@pytest.mark.parametrize("hardest", [True, False])
def test_label_budget_recursion(hardest):
    """One label a prompt: equal difficulty, so no prompt gets a second before all have one."""
    beta, p = 0.3, np.where(np.arange(N) < N // 5, 1.0, 0.0)  # u = 0.8
    budget, u = N // 10, 0.8
    arm = "boosting" if hardest else "uniform"
    world = World(beta, filter_labels=True)
    trace = run(arm, world=world, budget=budget, rounds=5, p=p)
    for r, measured in enumerate(trace.accuracy):
        within(1 - measured, u)
        assert trace.labels[r] == r * budget
        u = float(theory.budgeted(u, beta, budget / N, hardest))


def test_hardest_first_is_never_behind():
    u, fraction = np.meshgrid(np.linspace(0, 1, 21), np.linspace(0, 1, 21))
    hardest = theory.budgeted(u, 0.3, fraction, True)
    uniform = theory.budgeted(u, 0.3, fraction, False)
    assert (hardest <= uniform + 1e-12).all()
    inner = (u > 0) & (u < 1) & (fraction > 0) & (fraction < 1)
    assert (hardest < uniform)[inner].all()


@pytest.mark.parametrize("labels", [1, 3])
def test_m_filtered_labels_turn_a_prompt(labels):
    world = World(0.2, filter_labels=True)
    trace = run("boosting", world=world, budget=labels * N, rounds=1, p=np.zeros(N))
    within(trace.accuracy[1], theory.turned_by(labels, 0.2))


def test_boosting_beats_uniform_and_filter_in_simulation():
    """The order the method promises, at one budget, with prompts that filtering cannot solve."""
    p = np.where(np.arange(N) % 2 == 0, 0.0, 0.3)
    world = World(0.2, filter_labels=True)
    theta = theta_from_beta(0.2)
    final = {
        arm: run(arm, world=world, budget=N // 4, k=8, p=p, theta=theta).accuracy[-1]
        for arm in ARMS
    }
    assert final["boosting"] > final["uniform"] + 0.03
    assert final["uniform"] > final["filter_only"] + 0.03
    assert final["filter_only"] > final["do_nothing"] + 0.03
