"""What to sample, and how many rows and prompts each device holds; plain numpy.

Suffixes as in `boostlm.lm.generate`, and D devices, M groups: a prompt with up to K of its samples.
"""

from typing import NamedTuple

import numpy as np

from boostlm.engine.tokenizer import PAD_ID

_NARROWEST = 16  # tokens of the narrowest prompts that a program is compiled for
_PAIRS = 8  # samples of a prompt that share its slot, at the most, if they are requested by pairs
_REFILLS = 8  # new prompts are inserted once 1 / 8 of the rows are free


class SampleGroups(NamedTuple):
    """What to sample.

    Attributes:
      prompt_M: int32, ids of prompts; a prompt may stand in several groups.
      sample_MxK: int32, sample numbers; -1 where a group has fewer than K.
    """

    prompt_M: np.ndarray
    sample_MxK: np.ndarray


def group_pairs(
    prompt_L: np.ndarray, sample_L: np.ndarray
) -> tuple[SampleGroups, tuple[np.ndarray, np.ndarray]]:
    """Groups that hold each pair of a prompt and a sample number, and the place of each pair.

    All groups have the same width, however many samples the prompts have, so that one program
    serves all requests. A group takes as many rows as it has samples.
    """
    prompt_L, sample_L = np.asarray(prompt_L), np.asarray(sample_L)
    order = np.argsort(prompt_L, kind="stable")
    _, first, count = np.unique(prompt_L[order], return_index=True, return_counts=True)
    K = _PAIRS
    nth = np.arange(len(order)) - np.repeat(
        first, count
    )  # a pair's number among the pairs of its prompt
    starts = nth % K == 0
    m, k = np.cumsum(starts) - 1, nth % K
    groups = SampleGroups(prompt_L[order][starts], np.full((int(starts.sum()), K), -1))
    groups.sample_MxK[m, k] = sample_L[order]
    place = np.empty((2, len(order)), int)
    place[:, order] = m, k
    return groups, (place[0], place[1])


def width_of(length: int) -> int:
    """The width that a prompt of `length` tokens is padded to: a power of two."""
    width = _NARROWEST
    while width < length:
        width *= 2
    return width


class Layout(NamedTuple):
    """How much each device holds.

    Attributes:
      rows: responses that are decoded together (A).
      prompts: prompts that these rows respond to (S).
      new: prompts that are inserted at once (C).
    """

    rows: int
    prompts: int
    new: int


def layout_of(rows: int, devices: int, groups: int, k: int) -> Layout:
    """The layout for `groups` groups of up to k samples, and `rows` rows over all devices."""
    at_once = max(1, min(-(-rows // (devices * k)), -(-groups // devices)))
    prompts = at_once if k == 1 else 2 * at_once  # a prompt with one late row keeps its slot
    return Layout(at_once * k, prompts, max(1, at_once // _REFILLS))


def layout_of_pairs(rows: int, devices: int) -> Layout:
    """The layout for groups of one sample or more, from `group_pairs`, however many there are."""
    here = max(_PAIRS, -(-rows // devices))
    return Layout(here, here, max(1, here // _REFILLS))


class NewPrompts(NamedTuple):
    """The next prompts of every device, with a leading axis D, as numpy arrays.

    An empty place has prompt slot S and row A, which are out of range.

    Attributes:
      tokens_CxP: int32, the tokens after the prefix, padded on the right.
      length_C: int32.
      slot_C: int32, the prompt slot of each.
      row_CxK: int32, the row of each response.
      prompt_id_C: int32.
      sample_CxK: int32, sample numbers.
    """

    tokens_CxP: np.ndarray
    length_C: np.ndarray
    slot_C: np.ndarray
    row_CxK: np.ndarray
    prompt_id_C: np.ndarray
    sample_CxK: np.ndarray


def no_new_prompts(layout: Layout, D: int, K: int, width: int) -> NewPrompts:
    """Empty places for new prompts of up to `width` tokens."""
    A, S, C = layout
    return NewPrompts(
        tokens_CxP=np.full((D, C, width), PAD_ID, np.int32),
        length_C=np.ones((D, C), np.int32),
        slot_C=np.full((D, C), S, np.int32),
        row_CxK=np.full((D, C, K), A, np.int32),
        prompt_id_C=np.zeros((D, C), np.int32),
        sample_CxK=np.zeros((D, C, K), np.int32),
    )
