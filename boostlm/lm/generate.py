"""Sampling with a key-value cache: rows decoded together, each row refilled when it ends.

`DecodeSlots` is the state. `insert` prefills prompts and gives each of their responses a row, and
`decode_step` gives every active row one more token. `engine.sampler` calls them in turn and chooses
the next prompts. `generate` does all in one call, with a row for every response.

Suffixes: A rows, S prompts that have rows, C prompts inserted at once, K responses to a prompt,
P prompt tokens, R response tokens, V vocabulary.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from boostlm.lm.language_model import (
    NO_PREFIX,
    Cache,
    Caches,
    DecodeRows,
    LanguageModel,
    Params,
)
from boostlm.lm.token_sampling import SamplingParams, draw_token
from boostlm.numerics import AnyArray


class Responses(NamedTuple):
    """K sampled responses to each of B prompts.

    Attributes:
      tokens_BxKxR: int32, including the stop sequence, padded on the right.
      length_BxK: int32, tokens up to and including the first stop sequence.
      finished_BxK: bool, ended by a stop sequence; False means cut off by the length limit.
      logprob_BxKxR: float32, the model's own log-probability of each token (temperature 1, nothing
        filtered out), 0 on padding.

    Example:
      >>> responses = boostlm.Responses(
      ...     jnp.array([[[5, 6, 2, 0], [5, 5, 5, 5]]]), jnp.array([[3, 4]]),
      ...     jnp.array([[True, False]]), jnp.zeros((1, 2, 4)),
      ... )  # one prompt, two responses; the second was cut off
      >>> responses.tokens_BxKxR[0, 0, : responses.length_BxK[0, 0]].tolist()
      [5, 6, 2]
    """

    tokens_BxKxR: AnyArray
    length_BxK: AnyArray
    finished_BxK: AnyArray
    logprob_BxKxR: AnyArray


class DecodeConfig(NamedTuple):
    """Settings of all responses. Hashable, and static under jit.

    Attributes:
      stop_sequences: token sequences that end a response, such as ((EOS,),); 1 to R tokens long.
      pad_id: the token after the end of a response; it does not end one.
      sampling: how tokens are drawn.
    """

    stop_sequences: tuple[tuple[int, ...], ...]
    pad_id: int
    sampling: SamplingParams


class DecodeSlots(NamedTuple):
    """Rows that are decoded together, and the prompts that they respond to.

    Attributes:
      token_A: int32, the last token of each row.
      length_A: int32, tokens of each row so far.
      active_A: bool, rows that have not ended.
      key_A: keys; token t of a row is drawn with fold_in(key, t).
      tokens_AxR: int32.
      logprob_AxR: float32.
      clock: int32 scalar, see `DecodeRows`.
      prompt_A: int32, see `DecodeRows`, as are the next three.
      place_A: int32.
      row_SxK: int32.
      length_S: int32.
      prompt_cache: leaves [S, P, ...].
      response_cache: the cache of the rows.
    """

    token_A: Array
    length_A: Array
    active_A: Array
    key_A: Array
    tokens_AxR: Array
    logprob_AxR: Array
    clock: Array
    prompt_A: Array
    place_A: Array
    row_SxK: Array
    length_S: Array
    prompt_cache: Cache
    response_cache: Cache


class PrefillBatch(NamedTuple):
    """Prompts to insert. An empty place has row A and prompt slot S, which are out of range.

    Attributes:
      tokens_CxP: int32, the tokens after the prefix, at least one, padded on the right.
      length_C: int32.
      slot_C: int32, the prompt slot of each prompt.
      row_CxK: int32, the row of each response.
      key_CxK: keys.
    """

    tokens_CxP: AnyArray
    length_C: AnyArray
    slot_C: AnyArray
    row_CxK: AnyArray
    key_CxK: Array


def empty_slots(
    model: LanguageModel, key: Array, pad_id: int, *, A: int, S: int, K: int, P: int, R: int
) -> DecodeSlots:
    """Slots without an active row; `key` is any key, for its type."""
    zeros_A, zeros_S = jnp.zeros((A,), jnp.int32), jnp.zeros((S,), jnp.int32)
    return DecodeSlots(
        token_A=zeros_A,
        length_A=zeros_A,
        active_A=jnp.zeros((A,), bool),
        key_A=jnp.broadcast_to(key, (A,)),
        tokens_AxR=jnp.full((A, R), pad_id, jnp.int32),
        logprob_AxR=jnp.zeros((A, R), jnp.float32),
        clock=jnp.int32(0),
        prompt_A=zeros_A,
        place_A=zeros_A,
        row_SxK=jnp.zeros((S, K), jnp.int32),
        length_S=zeros_S,
        prompt_cache=model.prompt_cache(S, P),
        response_cache=model.response_cache(A, R),
    )


def insert(
    model: LanguageModel,
    params: Params,
    prefix: Cache,
    slots: DecodeSlots,
    batch: PrefillBatch,
    decode_config: DecodeConfig,
) -> DecodeSlots:
    """Prefills prompts and draws the first token of each of their responses.

    The rows and prompt slots of the batch must be free. Its prompts may be padded to less than P of
    the slots.
    """
    C, K = batch.row_CxK.shape
    row, slot = batch.row_CxK.reshape(-1), batch.slot_C
    place = jnp.tile(jnp.arange(K), C)
    logits_CxV, cache = model.prefill(params, batch.tokens_CxP, batch.length_C, prefix)
    pad = decode_config.pad_id
    slots = slots._replace(
        length_A=slots.length_A.at[row].set(0, mode="drop"),
        active_A=slots.active_A.at[row].set(True, mode="drop"),
        key_A=slots.key_A.at[row].set(batch.key_CxK.reshape(-1), mode="drop"),
        tokens_AxR=slots.tokens_AxR.at[row].set(pad, mode="drop"),
        logprob_AxR=slots.logprob_AxR.at[row].set(0.0, mode="drop"),
        prompt_A=slots.prompt_A.at[row].set(jnp.repeat(slot, K), mode="drop"),
        place_A=slots.place_A.at[row].set(place, mode="drop"),
        row_SxK=slots.row_SxK.at[slot].set(batch.row_CxK, mode="drop"),
        length_S=slots.length_S.at[slot].set(batch.length_C, mode="drop"),
        prompt_cache=jax.tree.map(functools.partial(_put, slot), slots.prompt_cache, cache),
    )
    A = slots.token_A.shape[0]
    starts_A = jnp.zeros((A,), bool).at[row].set(True, mode="drop")
    of_A = jnp.zeros((A,), jnp.int32).at[row].set(jnp.repeat(jnp.arange(C), K), mode="drop")
    return _emit(slots, logits_CxV[of_A], starts_A, decode_config)


def _put(slot_C: AnyArray, into: Array, new: Array) -> Array:
    """Writes the caches of C prompts into their slots, which may be longer."""
    fill = [(0, 0)] + [(0, n - m) for n, m in zip(into.shape[1:], new.shape[1:], strict=True)]
    return into.at[slot_C].set(jnp.pad(new, fill), mode="drop")


def _emit(
    slots: DecodeSlots, logits_AxV: Array, here_A: Array, decode_config: DecodeConfig
) -> DecodeSlots:
    """Draws the next token of the rows `here_A`; other rows stay unchanged."""
    A, R = slots.tokens_AxR.shape
    key_A = jax.vmap(jax.random.fold_in)(slots.key_A, slots.length_A)
    drawn_A, logprob_A = draw_token(key_A, logits_AxV, decode_config.sampling)
    at = (jnp.arange(A), jnp.where(here_A, slots.length_A, R))
    token_A = jnp.where(here_A, drawn_A, slots.token_A)
    tokens_AxR = slots.tokens_AxR.at[at].set(token_A, mode="drop")
    length_A = slots.length_A + here_A
    ended_A = ends(tokens_AxR, length_A, decode_config.stop_sequences) | (length_A == R)
    return slots._replace(
        token_A=token_A,
        length_A=length_A,
        active_A=slots.active_A & ~(here_A & ended_A),
        tokens_AxR=tokens_AxR,
        logprob_AxR=slots.logprob_AxR.at[at].set(logprob_A, mode="drop"),
    )


def ends(tokens_AxR: Array, length_A: Array, stop_sequences: tuple[tuple[int, ...], ...]) -> Array:
    """Whether the first `length_A` tokens of each row end in one of the sequences: bool [A]."""
    ended_A = jnp.zeros(length_A.shape, bool)
    for ending in stop_sequences:
        n = len(ending)
        at_AxN = length_A[:, None] - n + jnp.arange(n)[None]
        last_AxN = jnp.take_along_axis(tokens_AxR, jnp.maximum(at_AxN, 0), axis=1)
        ended_A |= (length_A >= n) & jnp.all(last_AxN == jnp.array([ending]), axis=1)
    return ended_A


def decode_step(
    model: LanguageModel,
    params: Params,
    prefix: Cache,
    slots: DecodeSlots,
    decode_config: DecodeConfig,
) -> DecodeSlots:
    """One token for every active row."""
    rows = DecodeRows(
        index_A=jnp.maximum(slots.length_A - 1, 0),
        clock=slots.clock,
        prompt_A=slots.prompt_A,
        place_A=slots.place_A,
        row_SxK=slots.row_SxK,
        length_S=slots.length_S,
    )
    caches = Caches(prefix, slots.prompt_cache, slots.response_cache)
    logits_AxV, response_cache = model.decode(params, slots.token_A, rows, caches)
    slots = slots._replace(response_cache=response_cache, clock=slots.clock + 1)
    return _emit(slots, logits_AxV, slots.active_A, decode_config)


def free(slots: DecodeSlots) -> tuple[Array, Array]:
    """How many rows and how many prompt slots are free: int32 scalars."""
    S = slots.length_S.shape[0]
    busy_S = jnp.zeros((S,), bool).at[slots.prompt_A].max(slots.active_A)
    return jnp.sum(~slots.active_A, dtype=jnp.int32), jnp.sum(~busy_S, dtype=jnp.int32)


def responses_of(slots: DecodeSlots, row_BxK: Array, decode_config: DecodeConfig) -> Responses:
    """The responses in the named rows, which must have ended."""
    tokens, length = slots.tokens_AxR[row_BxK], slots.length_A[row_BxK]
    finished_A = ends(slots.tokens_AxR, slots.length_A, decode_config.stop_sequences)
    return Responses(tokens, length, finished_A[row_BxK], slots.logprob_AxR[row_BxK])


def generate(
    model: LanguageModel,
    params: Params,
    prompt_BxP: Array,
    length_B: Array,
    key_BxK: Array,
    *,
    max_new_tokens: int,
    stop_sequences: tuple[tuple[int, ...], ...],
    pad_id: int,
    sampling: SamplingParams,
) -> Responses:
    """Samples K responses to each prompt, all rows at once, until the last one has ended.

    Each prompt is prefilled once and its cache shared by its K responses. A row's draws depend on
    its key and its prompt alone. Jit it with everything but params, prompts, lengths and keys
    static; it runs on arrays sharded over B. For more prompts than fit at once,
    `boostlm.engine.sampler` refills the rows that end.

    Args:
      model: the functions `read_prefix`, `prefill`, `decode` and its caches are used.
      params: the model's parameters.
      prompt_BxP: int32, padded on the right.
      length_B: int32, real tokens of each prompt, at least 1.
      key_BxK: a key for each response (see `row_keys`); token t uses fold_in(key, t).
      max_new_tokens: R.
      stop_sequences: token sequences that end a response, such as ((EOS,),); no pad_id.
      pad_id: the token after the end of a response.
      sampling: how tokens are drawn.

    Example:
      >>> from boostlm.config import ModelConfig
      >>> model = boostlm.decoder_lm(ModelConfig(layers=1), vocab_size=16)
      >>> sample = functools.partial(
      ...     boostlm.generate, model, max_new_tokens=6, stop_sequences=((2,),), pad_id=0,
      ...     sampling=boostlm.SamplingParams(temperature=0.7),
      ... )
      >>> prompt_BxP, length_B = jnp.array([[1, 5, 0], [1, 6, 7]]), jnp.array([2, 3])
      >>> key_BxK = boostlm.row_keys(jax.random.key(1), jnp.arange(2), 4)
      >>> params = model.init(jax.random.key(0))
      >>> responses = jax.jit(sample)(params, prompt_BxP, length_B, key_BxK)
      >>> responses.tokens_BxKxR.shape
      (2, 4, 6)
    """
    (B, K), P = key_BxK.shape, prompt_BxP.shape[1]
    decode_config = DecodeConfig(stop_sequences, pad_id, sampling)
    prefix = model.read_prefix(params, NO_PREFIX)
    row_BxK = jnp.arange(B * K).reshape(B, K)
    slots = empty_slots(model, key_BxK[0, 0], pad_id, A=B * K, S=B, K=K, P=P, R=max_new_tokens)
    batch = PrefillBatch(prompt_BxP, length_B, jnp.arange(B), row_BxK, key_BxK)
    slots = insert(model, params, prefix, slots, batch, decode_config)
    slots = jax.lax.while_loop(
        lambda slots: jnp.any(slots.active_A),
        lambda slots: decode_step(model, params, prefix, slots, decode_config),
        slots,
    )
    return responses_of(slots, row_BxK, decode_config)
