"""Splits rows into training, validation and test so that no near-duplicates are apart."""

import hashlib
from collections.abc import Sequence

from boostlm.tasks.contamination import runs_of

SHARES = {"test": 0.15, "validation": 0.15}  # of the rows; the rest is for training


def split_rows(problems: Sequence[str]) -> list[str]:
    """The split of each problem: "train", "validation" or "test".

    Problems that share 13 words in a row, or are equal, are in the same split (see
    `contamination`). The split depends on the problems only, not on their order.
    """
    clusters = near_duplicates(problems)
    order = sorted(clusters, key=lambda cluster: min(_digest(problems[i]) for i in cluster))
    splits = ["train"] * len(problems)
    wanted = {split: round(share * len(problems)) for split, share in SHARES.items()}
    for cluster in order:
        # A large cluster is for training: it would fill a small split with one kind of problem.
        fits = [split for split in SHARES if len(cluster) <= wanted[split]]
        if fits:
            wanted[fits[0]] -= len(cluster)
            for i in cluster:
                splits[i] = fits[0]
    return splits


def near_duplicates(problems: Sequence[str]) -> list[list[int]]:
    """The problems in clusters: those that share 13 words in a row, directly or through others."""
    leader = list(range(len(problems)))

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    first: dict[str, int] = {}
    for i, problem in enumerate(problems):
        for run in runs_of(problem):
            leader[find(i)] = find(first.setdefault(run, i))
    clusters: dict[int, list[int]] = {}
    for i in range(len(problems)):
        clusters.setdefault(find(i), []).append(i)
    return list(clusters.values())


def _digest(problem: str) -> bytes:
    return hashlib.sha256(f"boostlm-own-1\n{problem}".encode()).digest()
