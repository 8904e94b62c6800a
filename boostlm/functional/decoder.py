"""A decoder-only transformer in flax.linen, and its `LanguageModel` functions.

Pre-norm blocks of grouped-query attention with rotary positions and a gated-GELU MLP, RMSNorm
that scales by (1 + w), and one scaled embedding table for input and output. `ModelConfig` adds what
Gemma 2 (arXiv 2408.00118) and Gemma 3 (arXiv 2503.19786) have besides; `boostlm.models.gemma` names
their configs.

Suffixes: B rows, T tokens of a row; A rows that are decoded, S prompts, K places for rows of one
prompt, P prompt or prefix tokens, R response tokens; H heads, G key-value heads, D head width,
E model width, V vocabulary. In einsums s is keys, or prompts where p is keys, and q is the H / G
query heads of a key-value head.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from boostlm.config import ModelConfig
from boostlm.functional.language_model import Caches, LanguageModel, Rows

_MASKED = -1e30  # finite: a row with nothing to attend to gives no NaN


class RMSNorm(nn.Module):
    """Divides by the root mean square over the last axis and scales by (1 + w); in float32."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.zeros_init(), (x.shape[-1],), jnp.float32)
        wide = x.astype(jnp.float32)
        normed = wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + 1e-6)
        return jnp.einsum("...d,d->...d", normed, 1.0 + scale).astype(x.dtype)


def soft_cap(logits: Array, cap: float) -> Array:
    """Squashes logits into (-cap, cap) by tanh; a cap of 0 leaves them alone."""
    return jnp.tanh(logits / cap) * cap if cap else logits


def rotate(x: Array, position: Array, base: float) -> Array:
    """Rotary position embedding (arXiv 2104.09864), halves convention.

    Args:
      x: [..., heads, D].
      position: int32 [...].
      base: the longest wavelength over 2 pi.
    """
    half = x.shape[-1] // 2
    frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = jnp.einsum("...,d->...d", position.astype(jnp.float32), frequency)[..., None, :]
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


class Segment(NamedTuple):
    """Some of the keys that queries look at; leading axes are any.

    Attributes:
      score: float32 [..., S], scaled products of queries and keys.
      mask: bool, broadcast against `score`: which keys a query sees.
      read: weights [..., S] -> [..., D], their sum of values.
    """

    score: Array
    mask: Array
    read: Callable[[Array], Array]


def attend(segments: Sequence[Segment], cap: float, dtype) -> Array:
    """Softmax attention over the keys of all segments together: [..., D].

    Args:
      segments: at least one.
      cap: soft cap on the scores, 0 for none.
      dtype: of weights and result; scores and softmax are float32.
    """
    scores = [jnp.where(s.mask, soft_cap(s.score, cap), _MASKED) for s in segments]
    weight = jax.nn.softmax(jnp.concatenate(scores, axis=-1), axis=-1).astype(dtype)
    bounds = np.cumsum([score.shape[-1] for score in scores])[:-1]
    parts = jnp.split(weight, bounds, axis=-1)
    return sum(s.read(part) for s, part in zip(segments, parts, strict=True))


def products(spec: str, query: Array, key: Array) -> Array:
    """Scores by einsum, in float32."""
    return jnp.einsum(spec, query, key, preferred_element_type=jnp.float32)


class Attention(nn.Module):
    """Projections around `attend`; the caller says which keys there are besides the new ones.

    Attributes:
      config: of the model.
      local: whether only the last `config.window` tokens are seen.
    """

    config: ModelConfig
    local: bool

    def setup(self):
        c, init = self.config, nn.initializers.variance_scaling(1.0, "fan_in", "normal")

        def dense(features):
            return nn.DenseGeneral(features, use_bias=False, kernel_init=init)

        self.query = dense((c.heads, c.head_dim))
        self.key = dense((c.kv_heads, c.head_dim))
        self.value = dense((c.kv_heads, c.head_dim))
        self.out = nn.DenseGeneral(c.width, axis=(-2, -1), use_bias=False, kernel_init=init)
        if c.qk_norm:
            self.query_norm, self.key_norm = RMSNorm(), RMSNorm()

    def project(self, x: Array, position: Array) -> tuple[Array, Array, Array]:
        """Query [..., G, H / G, D], key and value [..., G, D] of tokens x [..., E], rotated."""
        c = self.config
        query, key, value = self.query(x), self.key(x), self.value(x)
        if c.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        query = query * (c.query_divisor or c.head_dim) ** -0.5
        base = c.local_rope_base if self.local else c.rope_base
        query = rotate(query, position, base)
        query = query.reshape(*x.shape[:-1], c.kv_heads, c.heads // c.kv_heads, c.head_dim)
        return query, rotate(key, position, base), value

    def visible(self, distance: Array) -> Array:
        """Whether a query sees a key that stands so many tokens before it: bool."""
        seen = distance >= 0
        return seen & (distance < self.config.window) if self.local else seen

    def merge(self, segments: Sequence[Segment], x: Array) -> Array:
        """Attends and projects: [..., E] for the tokens x [..., E] that ask."""
        mixed = attend(segments, self.config.attention_cap, x.dtype)
        return self.out(mixed.reshape(*x.shape[:-1], self.config.heads, self.config.head_dim))

    def full(self, x_BxTxE: Array, prefix) -> tuple[Array, tuple[Array, Array]]:
        """Causal attention of rows to themselves and to a prefix; also their keys and values."""
        (prefix_key_GxDxP, prefix_value_GxPxD), T = prefix, x_BxTxE.shape[1]
        P = prefix_value_GxPxD.shape[1]
        position_T = P + jnp.arange(T)
        query, key, value = self.project(x_BxTxE, jnp.broadcast_to(position_T, x_BxTxE.shape[:2]))
        segments = [
            Segment(
                products("btgqd,bsgd->btgqs", query, key),
                self.visible(position_T[:, None] - position_T)[:, None, None],
                lambda weight: jnp.einsum("btgqs,bsgd->btgqd", weight, value),
            )
        ]
        if P:
            before = Segment(
                products("btgqd,gds->btgqs", query, prefix_key_GxDxP),
                self.visible(position_T[:, None] - jnp.arange(P))[:, None, None],
                lambda weight: jnp.einsum("btgqs,gsd->btgqd", weight, prefix_value_GxPxD),
            )
            segments.insert(0, before)
        cache = key.transpose(0, 2, 3, 1), value.transpose(0, 2, 1, 3)
        return self.merge(segments, x_BxTxE), cache

    def decode(self, x_AxE: Array, position_A: Array, rows: Rows, caches: Caches):
        """One new token for each row: what attention adds, and the rows' new cache."""
        query, key, value = self.project(x_AxE, position_A)
        (A, G, Q, D), B = query.shape, caches.response[0].shape[0]
        R, write = caches.response[1].shape[1], jax.lax.dynamic_update_slice_in_dim
        entry = rows.clock % R
        key_BxDxR = write(caches.response[0], key.reshape(B, D, 1), entry, axis=2)
        value_BxRxD = write(caches.response[1], value.reshape(B, 1, D), entry, axis=1)
        age_R = (rows.clock - jnp.arange(R)) % R
        own = Segment(
            products("bqd,bdr->bqr", query.reshape(B, Q, D), key_BxDxR).reshape(A, G, Q, R),
            ((age_R <= rows.index_A[:, None]) & self.visible(age_R))[:, None, None],
            lambda weight: (weight.reshape(B, Q, R) @ value_BxRxD).reshape(A, G, Q, D),
        )
        segments = [self._of_prompt(query, position_A, rows, caches), own]
        if caches.prefix[1].shape[1]:
            segments.insert(0, self._of_prefix(query, position_A, caches.prefix))
        return self.merge(segments, x_AxE), (key_BxDxR, value_BxRxD)

    def _of_prefix(self, query: Array, position_A: Array, prefix) -> Segment:
        """All rows look at the prefix's keys together."""
        (key_GxDxP, value_GxPxD), (A, G, Q, D) = prefix, query.shape
        distance = position_A[:, None] - jnp.arange(value_GxPxD.shape[1])

        def to_rows(x):  # [G, A * Q, ...] -> [A, G, Q, ...]
            return x.reshape(G, A, Q, -1).transpose(1, 0, 2, 3)

        def read(weight):
            return to_rows(weight.transpose(1, 0, 2, 3).reshape(G, A * Q, -1) @ value_GxPxD)

        together = query.transpose(1, 0, 2, 3).reshape(G, A * Q, D)
        score = products("gmd,gdp->gmp", together, key_GxDxP)
        return Segment(to_rows(score), self.visible(distance)[:, None, None], read)

    def _of_prompt(self, query: Array, position_A: Array, rows: Rows, caches: Caches) -> Segment:
        """The rows of a prompt look at its keys together, so these are read once for all."""
        key_SxGxDxP, value_SxGxPxD = caches.prompt
        (S, G, P, _), (_, K), Q = value_SxGxPxD.shape, rows.row_SxK.shape, query.shape[2]
        place_P = jnp.arange(P)
        seen = place_P < rows.length_S[rows.prompt_A][:, None]
        distance = position_A[:, None] - caches.prefix[1].shape[1] - place_P

        def by_prompt(x):  # [A, G, Q, X] -> [S, G, K * Q, X]
            x = x[rows.row_SxK]
            return x.transpose(0, 2, 1, 3, 4).reshape(S, G, K * Q, x.shape[-1])

        def by_row(x):  # and back
            x = x.reshape(S, G, K, Q, x.shape[-1]).transpose(0, 2, 1, 3, 4)
            return x[rows.prompt_A, rows.place_A]

        score = products("sgmd,sgdp->sgmp", by_prompt(query), key_SxGxDxP)
        return Segment(
            by_row(score),
            (seen & self.visible(distance))[:, None, None],
            lambda weight: by_row(by_prompt(weight) @ value_SxGxPxD),
        )


class Block(nn.Module):
    """Attention and MLP, each on a normalised input and added to the stream.

    With `config.post_norms`, what is added is normalised too. Attributes as in `Attention`.
    """

    config: ModelConfig
    local: bool

    def setup(self):
        c, init = self.config, nn.initializers.variance_scaling(1.0, "fan_in", "normal")
        self.attention_norm, self.mlp_norm = RMSNorm(), RMSNorm()
        if c.post_norms:
            self.post_attention_norm, self.post_mlp_norm = RMSNorm(), RMSNorm()
        self.attention = Attention(c, self.local)
        self.gate = nn.Dense(c.mlp_width, use_bias=False, kernel_init=init)
        self.up = nn.Dense(c.mlp_width, use_bias=False, kernel_init=init)
        self.down = nn.Dense(c.width, use_bias=False, kernel_init=init)

    def add(self, x: Array, mixed: Array) -> Array:
        """The stream after attention, and then the MLP, have been added to it."""
        x = x + (self.post_attention_norm(mixed) if self.config.post_norms else mixed)
        y = self.mlp_norm(x)
        y = self.down(nn.gelu(self.gate(y), approximate=True) * self.up(y))
        return x + (self.post_mlp_norm(y) if self.config.post_norms else y)

    def full(self, x_BxTxE, prefix):
        mixed, cache = self.attention.full(self.attention_norm(x_BxTxE), prefix)
        return self.add(x_BxTxE, mixed), cache

    def decode(self, x_AxE, position_A, rows, caches):
        mixed, cache = self.attention.decode(self.attention_norm(x_AxE), position_A, rows, caches)
        return self.add(x_AxE, mixed), cache


class Decoder(nn.Module):
    """Token ids to logits, for whole rows (`full`) and one token at a time (`decode`)."""

    config: ModelConfig
    vocab_size: int

    def setup(self):
        c = self.config
        self.embedding = nn.Embed(
            self.vocab_size, c.width, embedding_init=nn.initializers.normal(c.width**-0.5)
        )
        self.blocks = [Block(c, local=(i + 1) % c.global_every != 0) for i in range(c.layers)]
        self.final_norm = RMSNorm()

    def embed(self, tokens: Array) -> Array:
        return self.embedding(tokens) * jnp.sqrt(jnp.float32(self.config.width))

    def unembed(self, x: Array) -> Array:
        logits = self.embedding.attend(self.final_norm(x)).astype(jnp.float32)
        return soft_cap(logits, self.config.logit_cap)

    def hidden(self, tokens_BxT: Array, prefix):
        """The stream after the last block, and each block's keys and values."""
        x_BxTxE, caches = self.embed(tokens_BxT), []
        for block, before in zip(self.blocks, prefix, strict=True):
            x_BxTxE, cache = block.full(x_BxTxE, before)
            caches.append(cache)
        return x_BxTxE, tuple(caches)

    def __call__(self, tokens_BxT: Array) -> Array:
        return self.unembed(self.hidden(tokens_BxT, empty_cache(self.config, 0))[0])

    def read_prefix(self, tokens_P: Array):
        _, cache = self.hidden(tokens_P[None], empty_cache(self.config, 0))
        return jax.tree.map(lambda x: x[0], cache)

    def prefill(self, tokens_BxP: Array, length_B: Array, prefix):
        x_BxPxE, cache = self.hidden(tokens_BxP, prefix)
        last_BxE = jnp.take_along_axis(x_BxPxE, (length_B - 1)[:, None, None], axis=1)[:, 0]
        return self.unembed(last_BxE), cache

    def decode(self, token_A: Array, rows: Rows, caches: Caches):
        prefix_length = caches.prefix[0][1].shape[1]
        position_A = prefix_length + rows.length_S[rows.prompt_A] + rows.index_A
        x_AxE, response = self.embed(token_A), []
        for block, *of_block in zip(self.blocks, *caches, strict=True):
            x_AxE, cache = block.decode(x_AxE, position_A, rows, Caches(*of_block))
            response.append(cache)
        return self.unembed(x_AxE), tuple(response)


def empty_cache(config: ModelConfig, *shape: int):
    """Each layer's keys [..., G, D, T] and values [..., G, T, D] for a shape of (..., T), zeros.

    In these layouts a step of decoding multiplies by them as they are, without a transposed copy.
    """
    *lead, T = shape
    G, D = config.kv_heads, config.head_dim
    key, value = jnp.zeros((*lead, G, D, T), jnp.float32), jnp.zeros((*lead, G, T, D), jnp.float32)
    return tuple((key, value) for _ in range(config.layers))


def response_cache(config: ModelConfig, rows: int, length: int):
    """The same for rows [A * G, ...]: with the two axes apart, XLA copies all of it at each step.

    (It fuses the write with the reshape that a product over two batch axes begins with, does so
    twice, and then cannot write in place.)
    """
    cache = empty_cache(config, rows, length)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), cache)


def decoder_lm(config: ModelConfig, vocab_size: int) -> LanguageModel:
    """The `LanguageModel` functions of a decoder; compute and parameters in float32."""
    module = Decoder(config, vocab_size)

    def method(function):
        return lambda params, *args: module.apply(params, *args, method=function)

    return LanguageModel(
        init=lambda key: module.init(key, jnp.zeros((1, 1), jnp.int32)),
        forward=module.apply,
        read_prefix=method(Decoder.read_prefix),
        prefill=method(Decoder.prefill),
        prompt_cache=functools.partial(empty_cache, config),
        response_cache=functools.partial(response_cache, config),
        decode=method(Decoder.decode),
    )
