"""Sampling any number of responses on a fixed number of rows: the host side of `generate`.

Each device has rows of its own. They are decoded until enough of them have ended; then the
responses are fetched, the next prompts are prefilled into the free rows, and decoding goes on. Few
widths of prompts are compiled, and nothing else depends on lengths.

Suffixes as in `boostlm.lm.generate`, and D devices, M groups: a prompt with up to K of its
samples.
"""

import collections
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as Spec

from boostlm.lm import generate as slots_of
from boostlm.lm.generate import Arrivals, Responses, Sampling, Slots
from boostlm.lm.language_model import LanguageModel, Params
from boostlm.prng import pair_keys
from boostlm.lm.sharding import AXIS, by_row, whole_on
from boostlm.lm.token_sampling import TokenRule
from boostlm.engine.prompt_table import PromptTable
from boostlm.engine.tokenizer import PAD_ID

_NARROWEST = 16  # tokens of the narrowest prompts that are compiled for
_WIDEST_GROUP = 8  # samples of a prompt that share its place, where they are asked for by pairs
_ADMISSIONS = 8  # times that a round of all rows is filled in: 1 / 8 of them wait at the most

Progress = Callable[[int, int], None]


class Groups(NamedTuple):
    """What to sample.

    Attributes:
      prompt_M: int32, ids of prompts; a prompt may stand in several groups.
      sample_MxK: int32, sample numbers; -1 where a group has fewer than K.
    """

    prompt_M: np.ndarray
    sample_MxK: np.ndarray


def group_pairs(
    prompt_L: np.ndarray, sample_L: np.ndarray
) -> tuple[Groups, tuple[np.ndarray, np.ndarray]]:
    """Groups that hold each pair of a prompt and a sample number, and where in them each pair is.

    A group has at most 8 samples, so that a prompt asked for 1,000 times does not make the others'
    groups as wide.
    """
    prompt_L, sample_L = np.asarray(prompt_L), np.asarray(sample_L)
    order = np.argsort(prompt_L, kind="stable")
    _, first, count = np.unique(prompt_L[order], return_index=True, return_counts=True)
    K = min(_WIDEST_GROUP, int(count.max()))
    nth = np.arange(len(order)) - np.repeat(first, count)  # number of a pair among its prompt's
    starts = nth % K == 0
    m, k = np.cumsum(starts) - 1, nth % K
    groups = Groups(prompt_L[order][starts], np.full((int(starts.sum()), K), -1))
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
    """What each device has room for.

    Attributes:
      rows: responses that are decoded together (A).
      prompts: prompts that these may respond to (S).
      arrivals: prompts that are admitted at once (C).
    """

    rows: int
    prompts: int
    arrivals: int


def layout_of(rows: int, devices: int, groups: int, k: int) -> Layout:
    """The layout for `groups` groups of up to k samples, and `rows` rows over all devices."""
    at_once = max(1, min(-(-rows // (devices * k)), -(-groups // devices)))
    prompts = at_once if k == 1 else 2 * at_once  # a prompt with one late row keeps its slot
    return Layout(at_once * k, prompts, max(1, at_once // _ADMISSIONS))


class Programs(NamedTuple):
    """The compiled parts, for one rule of drawing tokens."""

    read_prefix: Callable
    empty: Callable
    admit: Callable
    advance: Callable


class Sampler:
    """Samples responses from one model on several devices."""

    def __init__(
        self,
        model: LanguageModel,
        endings: Sequence[Sequence[int]],
        max_new_tokens: int,
        rows: int,
        mesh: Mesh,
    ):
        """Sets up sampling; nothing is compiled yet.

        Args:
          model: its functions.
          endings: token sequences that end a response.
          max_new_tokens: response length limit (R).
          rows: responses decoded at once, over these devices.
          mesh: devices of this host, along one axis.
        """
        self.model = model
        self.endings = tuple(tuple(int(i) for i in ending) for ending in endings)
        self.max_new_tokens = max_new_tokens
        self.rows = rows
        self._mesh = mesh
        self._compact = jax.jit(model.compact)
        self._programs: dict[TokenRule, Programs] = {}

    def ready(self, params: Params) -> Params:
        """A model's parameters, in any sharding, as `sample` takes them. All hosts must call it."""
        return whole_on(self._mesh, self._compact(params))

    def sample(
        self,
        params: Params,
        prompts: PromptTable,
        groups: Groups,
        key: jax.Array,
        rule: TokenRule,
        progress: Progress = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> tuple[Responses, np.ndarray]:
        """The responses of every group, as numpy arrays [M, K, ...], and which are done, bool [M].

        A response depends on params, its prompt, key, prompt id and sample number only. Where a
        group has no sample there is a response of length 0.

        Args:
          params: from `ready`.
          prompts: N prompts.
          groups: which of them, and which samples.
          key: of the round; a response draws with fold_in(fold_in(key, prompt), sample).
          rule: how tokens are drawn.
          progress: called as (groups done, groups in all).
          stop: asked from time to time; once it says True, what is not done is left so.
        """
        programs = self.programs_of(rule)
        prefix = programs.read_prefix(params, jnp.asarray(prompts.prefix_P0))
        plan = _Plan(self._mesh.size, self.rows, self.max_new_tokens, prompts, groups)
        slots = programs.empty(key, A=plan.A, S=plan.S, K=plan.K, P=plan.P, D=plan.D)
        while plan.going_on:
            while (arrivals := plan.next_arrivals()) is not None:
                slots = programs.admit(params, prefix, slots, arrivals, key)
            slots, finished = programs.advance(params, prefix, slots, plan.wanted())
            plan.collect(slots, np.asarray(finished))
            progress(plan.done, plan.total)
            if stop():
                break
        return plan.responses, plan.done_M

    def programs_of(self, rule: TokenRule) -> Programs:
        """The programs that `sample` runs for a rule, compiled when they are called."""
        if rule not in self._programs:
            sampling = Sampling(self.endings, PAD_ID, rule)
            model, R = self.model, self.max_new_tokens
            on_devices = functools.partial(
                jax.shard_map, mesh=self._mesh, out_specs=Spec(AXIS), check_vma=False
            )
            all_, each = Spec(), Spec(AXIS)

            def admit(params, prefix, slots, arrivals, key):
                slots, arrivals = jax.tree.map(lambda x: x[0], (slots, arrivals))
                keys = pair_keys(key, arrivals.pop("prompt_C"), arrivals.pop("sample_CxK"))
                arrivals = Arrivals(**arrivals, key_CxK=keys)
                slots = slots_of.admit(model, params, prefix, slots, arrivals, sampling)
                return jax.tree.map(lambda x: x[None], slots)

            def advance(params, prefix, slots, wanted):
                slots = jax.tree.map(lambda x: x[0], slots)
                slots, finished = _advance(model, params, prefix, slots, wanted, sampling)
                return jax.tree.map(lambda x: x[None], (slots, finished))

            @functools.partial(
                jax.jit,
                static_argnames=("A", "S", "K", "P", "D"),
                out_shardings=by_row(self._mesh),
            )
            def empty(key, *, A, S, K, P, D):
                slots = slots_of.empty_slots(model, key, PAD_ID, A=A, S=S, K=K, P=P, R=R)
                return jax.tree.map(lambda x: jnp.broadcast_to(x, (D, *x.shape)), slots)

            self._programs[rule] = Programs(
                read_prefix=jax.jit(model.read_prefix),
                empty=empty,
                admit=jax.jit(
                    on_devices(admit, in_specs=(all_, all_, each, each, all_)), donate_argnums=2
                ),
                advance=jax.jit(
                    on_devices(advance, in_specs=(all_, all_, each, all_)), donate_argnums=2
                ),
            )
        return self._programs[rule]


def _advance(model, params, prefix, slots: Slots, wanted, sampling: Sampling):
    """Decodes until half of the devices have enough free rows and prompts, or all rows ended."""

    def going_on(slots):
        rows, prompts = slots_of.free(slots)
        ready = (rows >= wanted[0]) & (prompts >= wanted[1])
        votes = jnp.stack([jnp.any(slots.active_A), ready, True]).astype(jnp.int32)
        active, ready, devices = jax.lax.psum(votes, AXIS)
        return (active > 0) & (2 * ready < devices)

    def step(carry):
        slots = slots_of.decode_step(model, params, prefix, carry[1], sampling)
        return going_on(slots), slots

    _, slots = jax.lax.while_loop(lambda carry: carry[0], step, (going_on(slots), slots))
    return slots, slots_of.ends(slots.tokens_AxR, slots.length_A, sampling.endings)


class _Plan:
    """Which response is in which row, which come next, and what has come out."""

    def __init__(self, D: int, rows: int, R: int, prompts: PromptTable, groups: Groups):
        (M, K), self._prompts, self._groups = groups.sample_MxK.shape, prompts, groups
        self.D, self.K = D, K
        self.A, self.S, self.C = layout_of(rows, D, M, K)
        widths = [width_of(int(n)) for n in prompts.length_N]
        self.P = width_of(prompts.tokens_NxP.shape[1])
        order = sorted(range(M), key=lambda m: (-widths[groups.prompt_M[m]], m))
        self._queue = collections.deque(order)
        self._width = lambda m: widths[groups.prompt_M[m]]
        self._row = np.full((D, self.A, 2), -1)  # the group and the place in it of each row
        self._slot = np.full((D, self.S), -1)  # the group of each prompt slot
        self.total, self.done = M, 0
        self._left = np.sum(groups.sample_MxK >= 0, axis=1)
        self.responses = Responses(
            np.full((M, K, R), PAD_ID, np.int32),
            np.zeros((M, K), np.int32),
            np.zeros((M, K), bool),
            np.zeros((M, K, R), np.float32),
        )

    @property
    def done_M(self) -> np.ndarray:
        return self._left == 0

    @property
    def going_on(self) -> bool:
        return bool(self._queue) or bool(np.any(self._row >= 0))

    def wanted(self) -> np.ndarray:
        """Free rows and prompt slots that a device should have before decoding is interrupted."""
        groups = min(self.C, -(-len(self._queue) // self.D))
        return np.array([groups * self.K if groups else self.A + 1, groups], np.int32)

    def next_arrivals(self) -> dict[str, np.ndarray] | None:
        """Arrivals for every device, leading axis D, or None if no group can be admitted."""
        D, C, K = self.D, self.C, self.K
        width = self._width(self._queue[0]) if self._queue else 0
        out = {
            "prompt_CxP": np.full((D, C, width), PAD_ID, np.int32),
            "length_C": np.ones((D, C), np.int32),
            "slot_C": np.full((D, C), self.S, np.int32),
            "row_CxK": np.full((D, C, K), self.A, np.int32),
            "prompt_C": np.zeros((D, C), np.int32),
            "sample_CxK": np.zeros((D, C, K), np.int32),
        }
        admitted = 0
        for c in range(C):
            for d in range(D):
                rows = np.flatnonzero(self._row[d, :, 0] < 0)
                slots = np.flatnonzero(self._slot[d] < 0)
                if not self._queue or self._width(self._queue[0]) != width:
                    break
                if len(rows) >= K and len(slots):
                    self._admit(self._queue.popleft(), d, c, rows, slots[0], out)
                    admitted += 1
        return out if admitted else None

    def _admit(self, m: int, d: int, c: int, rows, slot: int, out: dict[str, np.ndarray]) -> None:
        n, samples, width = self._groups.prompt_M[m], self._groups.sample_MxK[m], self._width(m)
        places = np.flatnonzero(samples >= 0)
        chosen = rows[: len(places)]
        tokens = self._prompts.tokens_NxP[n, :width]
        out["prompt_CxP"][d, c, : len(tokens)] = tokens
        out["length_C"][d, c] = self._prompts.length_N[n]
        out["slot_C"][d, c] = slot
        out["row_CxK"][d, c, places] = chosen
        out["prompt_C"][d, c] = n
        out["sample_CxK"][d, c] = samples
        self._slot[d, slot] = m
        self._row[d, chosen, 0], self._row[d, chosen, 1] = m, places

    def collect(self, slots: Slots, finished_DxA: np.ndarray) -> None:
        """Takes the responses of the rows that have ended, and frees these."""
        active, length = np.asarray(slots.active_A), np.asarray(slots.length_A)
        ended = np.nonzero(~active & (self._row[..., 0] >= 0))
        m, k = self._row[ended].T
        out = self.responses
        out.tokens_BxKxR[m, k] = np.asarray(slots.tokens_AxR)[ended]
        out.logprob_BxKxR[m, k] = np.asarray(slots.logprob_AxR)[ended]
        out.length_BxK[m, k] = length[ended]
        out.finished_BxK[m, k] = finished_DxA[ended]
        self._row[ended] = -1
        np.subtract.at(self._left, m, 1)
        over = np.isin(self._slot, np.flatnonzero(self.done_M)) & (self._slot >= 0)
        self.done += int(np.sum(over))
        self._slot[over] = -1
