"""Made-up runs for the report's tests, and a reader of its pages."""

import math
import random
import re
from dataclasses import asdict
from html.parser import HTMLParser

import numpy as np

from boostlm.config import FOUR_ARMS, Config
from boostlm.report.run_data import LATER, Prediction, RunData

GROUPS = ("add", "reverse", "count", "sort", "compare", "carry")
GOAL = {"do_nothing": 0.16, "filter_only": 0.45, "uniform": 0.55, "boosting": 0.64}


def make_row(arm, seed, round_, accuracy, groups=GROUPS, there=1.0, labels=0):
    """One row as the loop writes it; `there` in [0, 1] is how far training has come."""
    noise = random.Random(f"{seed} {arm} {round_}" if round_ else f"{seed}")
    hard = [1 + i * there * 1.5 for i in range(len(groups))]
    easy = [accuracy * (1.6 - 1.2 * i / len(groups)) * noise.uniform(0.8, 1.2) for i in range(99)]
    prompts = [0.5**f for f in range(round_ + 1)]
    weight = [p * 1.43**f for f, p in enumerate(prompts)]
    return {
        "arm": arm, "seed": seed, "round": round_, "test_accuracy": accuracy,
        "eval_by_group": {b: min(1.0, e) for b, e in zip(groups, easy)},
        "train_accuracy": accuracy * 0.97, "train_solved": min(1.0, accuracy * 1.35),
        "accepted": accuracy * 0.97, "labels_spent": labels, "labels_kept": int(0.3 * labels),
        "distinct": 0.8 - (0.5 if arm == "do_nothing" else 0.3) * there, "cut_off": 0.01,
        "weight_by_group": {b: h / sum(hard) for b, h in zip(groups, hard)},
        "weight_by_failures": [w / sum(weight) for w in weight],
        "prompts_by_failures": [round(1024 * p / sum(prompts)) for p in prompts],
        "train_loss": None if round_ == 0 else 1.2 * math.exp(-round_ / 3), "seconds": 12.5,
    } | dict.fromkeys(LATER)  # fmt: skip


def make_run(arms=FOUR_ARMS, seeds=3, rounds=5, groups=GROUPS, scale=1.0, **config):
    """A run whose curves look like those of a real one; with `scale` 0 it learns nothing."""
    rng, rows, predicted = random.Random(7), [], {}
    for seed in range(seeds):
        start = 0.24 + rng.gauss(0, 0.012)
        predicted[seed] = {}
        for arm in arms:
            goal, path = GOAL[arm] + rng.gauss(0, 0.02), []
            for r in range(rounds + 1):
                there = 1 - math.exp(-r / 1.5)
                path.append(scale * (start + (goal - start) * there))
                labels = 256 * r * (arm in ("uniform", "boosting"))
                rows.append(make_row(arm, seed, r, path[-1], groups, there, labels))
            mean = [p * (0.95 - 0.02 * i) for i, p in enumerate(path)]
            band = ([p * part for p in mean] for part in (0.9, 1.1))
            predicted[seed][arm] = Prediction(mean, *band)
    settings = asdict(Config(arms=tuple(arms), seeds=seeds, rounds=rounds)) | config
    return RunData(settings, tuple(rows), predicted, answers(rows))


def answers(rows, prompts=1000):
    """Greedy verdicts that give the rows' accuracies: the better model is right wherever the other is."""
    there = np.arange(prompts)
    return {
        (r["arm"], r["seed"], r["round"]): there < round(r["test_accuracy"] * prompts) for r in rows
    }


def exact_run(filter_only=(), boosting=(), start=0.2, labels=256, **others):
    """A run of one round from its final accuracies, one a seed."""
    final = others | {"filter_only": filter_only, "boosting": boosting}
    final = {arm: final[arm] for arm in FOUR_ARMS if final.get(arm)}
    rows = []
    for arm, seed in [(a, s) for a in final for s in range(len(final[a]))]:
        end = make_row(arm, seed, 1, final[arm][seed], labels=labels * (arm in FOUR_ARMS[2:]))
        rows += [make_row(arm, seed, 0, start), end]
    seeds = max(map(len, final.values()))
    settings = asdict(Config(arms=tuple(final), seeds=seeds, rounds=1))
    return RunData(settings, tuple(rows), {}, answers(rows))


class Reader(HTMLParser):
    """Checks that tags balance, and collects what a browser would fetch or jump to."""

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.links, self.text, self.tags = [], [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if re.search("href|src|data$", name)]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
