"""Samples any number of responses on a fixed number of rows: the host side of `generate`.

Each device has its own rows. They are decoded until enough of them have ended. Then the responses
are fetched, the next prompts are prefilled into the free rows, and decoding continues. Programs are
compiled for a few widths of prompts, and nothing else depends on lengths.

Suffixes as in `boostlm.lm.generate`, and D devices, M groups: a prompt with up to K of its
samples.
"""

import collections
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as Spec

from boostlm.engine.prompt_table import PromptTable
from boostlm.engine.slot_layout import (
    Layout,
    NewPrompts,
    SampleGroups,
    layout_of,
    no_new_prompts,
    width_of,
)
from boostlm.engine.tokenizer import PAD_ID
from boostlm.lm import generate as decode_slots
from boostlm.lm.generate import DecodeConfig, DecodeSlots, PrefillBatch, Responses
from boostlm.lm.language_model import Cache, LanguageModel, Params
from boostlm.lm.sharding import AXIS, replicate_on, row_sharding
from boostlm.lm.token_sampling import SamplingParams
from boostlm.prng import pair_keys

OnProgress = Callable[[int, int], None]


class SamplingPrograms(NamedTuple):
    """The compiled programs for one setting of `SamplingParams`."""

    read_prefix: jax.stages.Wrapped
    empty: jax.stages.Wrapped
    insert: jax.stages.Wrapped
    decode: jax.stages.Wrapped


class Sampler:
    """Samples responses from one model on several devices."""

    def __init__(
        self,
        model: LanguageModel,
        stop_sequences: Sequence[Sequence[int]],
        max_new_tokens: int,
        batch_size: int,
        mesh: Mesh,
    ) -> None:
        """Sets up sampling; nothing is compiled yet.

        Args:
          model: its functions.
          stop_sequences: token sequences that end a response.
          max_new_tokens: response length limit (R).
          batch_size: responses decoded at once, over these devices.
          mesh: devices of this host, along one axis.
        """
        self.model = model
        self.stop_sequences = tuple(tuple(int(i) for i in ending) for ending in stop_sequences)
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size
        self._mesh = mesh
        self._compact = jax.jit(model.compact)
        self._programs: dict[SamplingParams, SamplingPrograms] = {}

    @property
    def devices(self) -> int:
        """How many devices it samples on."""
        return self._mesh.size

    def ready(self, params: Params) -> Params:
        """A model's parameters in the form that `sample` takes. All hosts must call it."""
        return replicate_on(self._mesh, self._compact(params))

    def sample(
        self,
        params: Params,
        prompts: PromptTable,
        groups: SampleGroups,
        key: jax.Array,
        sampling: SamplingParams,
        progress: OnProgress = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False,
        layout: Layout | None = None,
    ) -> tuple[Responses, np.ndarray]:
        """The responses of every group, as numpy arrays [M, K, ...], and which are done, bool [M].

        A response depends on params, its prompt, key, prompt id and sample number only. An empty
        place of a group gets a response of length 0.

        Args:
          params: from `ready`.
          prompts: N prompts.
          groups: which prompts, and which samples of them.
          key: the round's key; a response draws with fold_in(fold_in(key, prompt), sample).
          sampling: how tokens are drawn.
          progress: called as (groups done, groups in all).
          stop: called between decoding loops; once it returns True, sampling ends early.
          layout: of each device; None: the one for so many full groups.
        """
        programs = self.programs_of(sampling)
        prefix = programs.read_prefix(params, jnp.asarray(prompts.prefix_P0))
        D, (M, K) = self._mesh.size, groups.sample_MxK.shape
        layout = layout or layout_of(self.batch_size, D, M, K)
        plan = _Plan(D, layout, self.max_new_tokens, prompts, groups)
        slots = programs.empty(key, A=plan.A, S=plan.S, K=plan.K, P=plan.P, D=plan.D)
        while plan.going_on and not stop():
            while (new := plan.next_prompts()) is not None:
                slots = programs.insert(params, prefix, slots, new, key)
            slots, finished = programs.decode(params, prefix, slots, plan.wanted())
            plan.collect(slots, np.asarray(finished))
            progress(plan.done, plan.total)
        return plan.responses, plan.done_M

    def programs_of(self, sampling: SamplingParams) -> SamplingPrograms:
        """The programs that `sample` runs for these params, compiled when they are called."""
        if sampling not in self._programs:
            decode_config = DecodeConfig(self.stop_sequences, PAD_ID, sampling)
            model, R = self.model, self.max_new_tokens
            on_devices = functools.partial(
                jax.shard_map, mesh=self._mesh, out_specs=Spec(AXIS), check_vma=False
            )
            all_, each = Spec(), Spec(AXIS)

            def insert(
                params: Params, prefix: Cache, slots: DecodeSlots, new: NewPrompts, key: jax.Array
            ) -> DecodeSlots:
                slots, new = jax.tree.map(lambda x: x[0], (slots, new))
                keys = pair_keys(key, new.prompt_id_C, new.sample_CxK)
                batch = PrefillBatch(new.tokens_CxP, new.length_C, new.slot_C, new.row_CxK, keys)
                slots = decode_slots.insert(model, params, prefix, slots, batch, decode_config)
                return jax.tree.map(lambda x: x[None], slots)

            def decode(
                params: Params, prefix: Cache, slots: DecodeSlots, wanted: jax.Array
            ) -> tuple[DecodeSlots, jax.Array]:
                slots = jax.tree.map(lambda x: x[0], slots)
                slots, finished = _decode_until_free(
                    model, params, prefix, slots, wanted, decode_config
                )
                return jax.tree.map(lambda x: x[None], (slots, finished))

            @functools.partial(
                jax.jit,
                static_argnames=("A", "S", "K", "P", "D"),
                out_shardings=row_sharding(self._mesh),
            )
            def empty(key: jax.Array, *, A: int, S: int, K: int, P: int, D: int) -> DecodeSlots:
                slots = decode_slots.empty_slots(model, key, PAD_ID, A=A, S=S, K=K, P=P, R=R)
                return jax.tree.map(lambda x: jnp.broadcast_to(x, (D, *x.shape)), slots)

            self._programs[sampling] = SamplingPrograms(
                read_prefix=jax.jit(model.read_prefix),
                empty=empty,
                insert=jax.jit(
                    on_devices(insert, in_specs=(all_, all_, each, each, all_)), donate_argnums=2
                ),
                decode=jax.jit(
                    on_devices(decode, in_specs=(all_, all_, each, all_)), donate_argnums=2
                ),
            )
        return self._programs[sampling]


def _decode_until_free(
    model: LanguageModel,
    params: Params,
    prefix: Cache,
    slots: DecodeSlots,
    wanted: jax.Array,
    decode_config: DecodeConfig,
) -> tuple[DecodeSlots, jax.Array]:
    """Decodes until half of the devices have enough free rows and prompts, or all rows ended."""

    def going_on(slots: DecodeSlots) -> jax.Array:
        rows, prompts = decode_slots.free(slots)
        ready = (rows >= wanted[0]) & (prompts >= wanted[1])
        votes = jnp.stack([jnp.any(slots.active_A), ready, True]).astype(jnp.int32)
        active, ready, devices = jax.lax.psum(votes, AXIS)
        return (active > 0) & (2 * ready < devices)

    def step(carry: tuple[jax.Array, DecodeSlots]) -> tuple[jax.Array, DecodeSlots]:
        slots = decode_slots.decode_step(model, params, prefix, carry[1], decode_config)
        return going_on(slots), slots

    _, slots = jax.lax.while_loop(lambda carry: carry[0], step, (going_on(slots), slots))
    return slots, decode_slots.ends(slots.tokens_AxR, slots.length_A, decode_config.stop_sequences)


class _Plan:
    """Which response each row holds, which prompts come next, and the finished responses."""

    def __init__(
        self, D: int, layout: Layout, R: int, prompts: PromptTable, groups: SampleGroups
    ) -> None:
        (M, K), self._prompts, self._groups = groups.sample_MxK.shape, prompts, groups
        self.D, self.K = D, K
        self.A, self.S, self.C = layout
        widths = [width_of(int(n)) for n in prompts.length_N]
        self.P = width_of(prompts.tokens_NxP.shape[1])
        order = sorted(range(M), key=lambda m: (-widths[groups.prompt_M[m]], m))
        self._queue = collections.deque(order)
        self._width = lambda m: widths[groups.prompt_M[m]]
        self._row = np.full((D, self.A, 2), -1)  # of each row: the group and the place in it
        self._slot = np.full((D, self.S), -1)  # the group of each prompt slot
        self._none = {w: no_new_prompts(layout, D, K, w) for w in {0, *widths}}  # all empty
        self.total, self.done = M, 0
        self._size = np.sum(groups.sample_MxK >= 0, axis=1)  # samples of each group
        self._left = self._size.copy()
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
        if not groups:
            return np.array([self.A + 1, 0], np.int32)
        sizes = self._size[list(itertools.islice(self._queue, groups * self.D))]
        rows = max(sizes[0], groups * -(-int(sizes.sum()) // len(sizes)))
        return np.array([rows, groups], np.int32)

    def next_prompts(self) -> NewPrompts | None:
        """New prompts for every device, or None if no group can be inserted."""
        width = self._width(self._queue[0]) if self._queue else 0
        out = NewPrompts(*(x.copy() for x in self._none[width]))
        inserted = 0
        for c in range(self.C):
            for d in range(self.D):
                rows = np.flatnonzero(self._row[d, :, 0] < 0)
                slots = np.flatnonzero(self._slot[d] < 0)
                if not self._queue or self._width(self._queue[0]) != width:
                    break
                if len(rows) >= self._size[self._queue[0]] and len(slots):
                    self._insert(self._queue.popleft(), (d, c), rows, slots[0], out)
                    inserted += 1
        return out if inserted else None

    def _insert(
        self, m: int, at: tuple[int, int], rows: np.ndarray, slot: int, out: NewPrompts
    ) -> None:
        """Puts group m at (device, place) of the new prompts, into some of the free rows."""
        n, samples, width = self._groups.prompt_M[m], self._groups.sample_MxK[m], self._width(m)
        places, device = np.flatnonzero(samples >= 0), at[0]
        chosen = rows[: len(places)]
        tokens = self._prompts.tokens_NxP[n, :width]
        out.tokens_CxP[at][: len(tokens)] = tokens
        out.length_C[at] = self._prompts.length_N[n]
        out.slot_C[at] = slot
        out.row_CxK[at][places] = chosen
        out.prompt_id_C[at] = n
        out.sample_CxK[at] = samples
        self._slot[device, slot] = m
        self._row[device, chosen, 0], self._row[device, chosen, 1] = m, places

    def collect(self, slots: DecodeSlots, finished_DxA: np.ndarray) -> None:
        """Takes the responses of the rows that have ended, and frees these rows."""
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
