"""Whether the report's intervals, bands and alarms hold what they promise, by simulation.

    python benchmarks/statistics_check.py

Prints, each with its target: how often 95% intervals hold the true difference, how often a run
without a difference settles one, how often an ideal learner's true curve ends in its 90% band, and
how often a healthy run raises an alarm. Takes about 10 minutes on 2 CPU cores.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from boostlm import ARMS, Curation, theta_from_beta
from boostlm.config import FOUR_ARMS, Config, DataConfig, FilterConfig, LabelConfig, SampleConfig
from boostlm.curation.diversity import wrong_pairs
from boostlm.curation.ideal_learner import (
    FirstSamples,
    World,
    initial_table,
    sample_table,
    simulate,
)
from boostlm.curation.mixture import noisy_verdict
from boostlm.experiment.past_rounds import Verdicts
from boostlm.report.predict import predict
from boostlm.statistics.collapse import alarms, churn, paired_change, wrong_diversity
from boostlm.statistics.intervals import crossed_interval
from boostlm.statistics.paired import mcnemar_of

RUNS = 2000
PROMPTS = 256
K = 8


def differences(rng, seeds, seed_effect, prompt_effect, difference):
    """Differences of two models' verdicts, [seeds, PROMPTS]; effects are standard deviations."""
    p = rng.uniform(0.05, 0.95, PROMPTS)
    effect = difference + rng.normal(0, seed_effect, (seeds, 1))
    effect = (effect + rng.normal(0, prompt_effect, PROMPTS)) / 2
    ours, theirs = rng.random((2, seeds, PROMPTS))
    return (ours < p + effect).astype(float) - (theirs < p - effect)


def true_difference(rng, seed_effect, prompt_effect, difference):
    """The mean over many seeds and prompts."""
    p, deviation = rng.uniform(0.05, 0.95, 4_000_000), np.hypot(seed_effect, prompt_effect)
    effect = rng.normal(difference, max(deviation, 1e-12), p.shape) / 2
    return float(np.mean(np.clip(p + effect, 0, 1) - np.clip(p - effect, 0, 1)))


def check_intervals() -> None:
    """Coverage at 95%, and differences that are settled though there is none."""
    rng = np.random.default_rng(0)
    print(f"95% intervals over seeds and prompts, {RUNS} runs each; 'settled' is for 3 comparisons")
    print("seed effect  prompt effect  difference  seeds  covered  settled")
    for world in itertools.product((0.0, 0.055), (0.0, 0.3), (0.0, 0.08)):
        truth = true_difference(rng, *world) if world[2] else 0.0
        for seeds in (3, 5, 10):
            covered = settled = 0
            for _ in range(RUNS):
                value = differences(rng, seeds, *world)
                e, wide = crossed_interval(value), crossed_interval(value, 1 - 0.05 / 3)
                covered += e.low <= truth <= e.high
                settled += not wide.low <= 0 <= wide.high
            cells = (*world, seeds, covered / RUNS, settled / RUNS)
            print("{:11.3f}  {:13.2f}  {:10.2f}  {:5d}  {:7.1%}  {:7.1%}".format(*cells))


def check_band(runs: int = 100, prompts: int = 300, beta: float = 0.3) -> None:
    """How often the true curve of an ideal learner ends in its predicted band."""
    rng = np.random.default_rng(1)
    priors = (
        lambda n: rng.beta(1, 1.5, n),
        lambda n: rng.beta(0.3, 2.7, n),
        lambda n: np.where(rng.random(n) < 0.4, 0.0, rng.beta(2, 2, n)),
    )
    print(f"\n90% band of the theory, {runs} runs of {prompts} prompts, three priors in turn")
    for rates in ((0.0, 0.0), (0.1, 0.1)):
        config = Config(
            rounds=4,
            data=DataConfig(train_prompts=prompts),
            sample=SampleConfig(k=K),
            filter=FilterConfig(*rates),
            label=LabelConfig(beta=beta, budget=prompts // 4),
        )
        held = dict.fromkeys(FOUR_ARMS, 0)
        for seed in range(runs):
            key, p_N = jax.random.key(seed), priors[seed % 3](prompts)
            correct = sample_table(jax.random.fold_in(key, 7), initial_table(p_N), K) == 0
            accepted = noisy_verdict(jax.random.fold_in(key, 8), correct, *rates)
            numbers = Curation(theta_from_beta(beta), config.label.budget, config.train.alpha)
            world = World(jnp.full(prompts, beta), *rates, config.label.filter_labels)
            first = FirstSamples(correct, accepted)
            of_arm = dict.fromkeys(FOUR_ARMS, beta)
            start = Verdicts(np.asarray(correct), np.asarray(accepted))
            found = predict(config, dict.fromkeys(FOUR_ARMS, start), of_arm, seed)
            for arm in FOUR_ARMS:
                table = initial_table(p_N)
                trace = simulate(key, table, ARMS[arm], numbers, world, config.rounds, K, first)
                held[arm] += found[arm].low[-1] <= float(trace.accuracy[-1]) <= found[arm].high[-1]
        shown = ", ".join(f"{arm} {count}" for arm, count in held.items())
        print(f"filter's error rates {rates}: truth in the band in {shown} of {runs}")


def arm_rows(rng, p_of_round, greedy_of_round, kinds):
    """The rows of one arm whose samples, and whose greedy answers, have these chances."""
    rows, start, before = [], None, None
    for p, greedy in zip(p_of_round, greedy_of_round, strict=True):
        wrong = rng.integers(1, kinds + 1, (len(p), K))
        answer = np.where(rng.random((len(p), K)) < p[:, None], 0, wrong).astype(np.int32)
        correct, right = answer == 0, rng.random(len(greedy)) < greedy
        row = {
            "test_accuracy": right.mean(),
            "wrong_diversity": wrong_diversity(
                *map(np.asarray, wrong_pairs(answer[..., None], correct))
            ),
            "train_change": start and paired_change(start[0], correct),
            "against_start": None,
            "churn": None if before is None else churn(before, correct.any(axis=1))._asdict(),
        }
        if start:
            won, lost, _ = mcnemar_of(right, start[1])
            row["against_start"] = {"won": won, "lost": lost}
        start, before = start or (correct, right), correct.any(axis=1)
        rows.append(row)
    return rows


def check_alarms(runs: int = 200) -> None:
    """How often a run of four healthy arms over five rounds raises any alarm."""
    print(
        f"\nfalse alarms, {runs} runs of 4 arms and 5 rounds: one arm stands still, three improve"
    )
    for prompts, evaluated, kinds in ((48, 24, 20), (256, 128, 4), (1000, 512, 1000)):
        rng, false = np.random.default_rng(prompts), 0
        for _ in range(runs):
            p, greedy = rng.beta(1, 1.5, prompts), rng.beta(0.8, 1.2, evaluated)
            found = False
            for lift in (0.0, 0.15, 0.4, 0.8):
                shares = [lift * (1 - np.exp(-r / 1.5)) for r in range(6)]
                curves = ([x + (1 - x) * s for s in shares] for x in (p, greedy))
                rows = arm_rows(rng, *curves, kinds)
                found |= any(alarms(rows[: i + 1]) for i in range(1, 6))
            false += found
        print(f"{prompts} prompts, {evaluated} evaluated, {kinds} wrong answers: {false} of {runs}")


if __name__ == "__main__":
    check_intervals()
    check_band()
    check_alarms()
