"""Attention in flax.linen: grouped queries, rotary positions, several segments of keys.

Suffixes: B rows, T tokens of a row; A decoded rows, S prompts, K places for rows of one prompt,
P prompt or prefix tokens, R response tokens; H heads, G key-value heads, Q query heads of each
key-value head, D head width, E model width. In einsums over whole rows, s stands for keys.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.sharding import Mesh
from jax.typing import DTypeLike

from boostlm.config import ModelConfig
from boostlm.lm.language_model import Caches, DecodeRows
from boostlm.lm.linear import Linear
from boostlm.lm.sharding import MODEL_AXIS
from boostlm.numerics import AnyArray

KeysValues = tuple[Array, Array]  # of one layer

_MASKED = -1e30  # finite, so that a row with nothing to attend to does not give NaN


class RMSNorm(nn.Module):
    """Divides by the root mean square over the last axis and scales by (1 + w); in float32."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.zeros_init(), (x.shape[-1],), jnp.float32)
        wide = x.astype(jnp.float32)
        normed = wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + 1e-6)
        scale = jnp.expand_dims(1.0 + scale, range(x.ndim - 1))
        return (normed * scale).astype(x.dtype)


def soft_cap(logits: Array, cap: float) -> Array:
    """Squashes logits into (-cap, cap) by tanh; a cap of 0 leaves them alone."""
    return jnp.tanh(logits / cap) * cap if cap else logits


def turns(positions: int, width: int, base: float) -> tuple[np.ndarray, np.ndarray]:
    """Sines and cosines of rotary positions 0, 1, ... (arXiv 2104.09864): float32 [positions, D/2].

    As constants: XLA would compute them for every row, head and use, forwards and backwards.

    Args:
      positions: how many.
      width: D.
      base: the longest wavelength over 2 pi.
    """
    half, dtype = width // 2, jnp.float32
    frequency = base ** (-np.arange(half, dtype=dtype) / half)
    angle = np.arange(positions, dtype=dtype)[:, None] * frequency
    wide = angle.astype(np.float64)
    return np.sin(wide).astype(dtype), np.cos(wide).astype(dtype)


def rotate(x: Array, sin: AnyArray, cos: AnyArray) -> Array:
    """Rotary position embedding, halves convention.

    Args:
      x: [..., heads, D].
      sin, cos: [..., D / 2], entries of `turns`; leading axes may be 1.
    """
    sin, cos = sin[..., None, :], cos[..., None, :]
    first, second = jnp.split(x, 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)


class Segment(NamedTuple):
    """Some of the keys that queries attend to, with any leading axes.

    Attributes:
      score: float32 [..., S], scaled products of queries and keys.
      mask: bool, broadcasts to `score`: which keys a query sees.
      read: weights [..., S] -> [..., D], their sum of values.
    """

    score: Array
    mask: Array
    read: Callable[[Array], Array]


def attend(segments: Sequence[Segment], cap: float, dtype: DTypeLike) -> Array:
    """Softmax attention over the keys of all segments together: [..., D].

    Args:
      segments: at least one.
      cap: soft cap on the scores, 0 for none.
      dtype: the dtype of weights and result; scores and softmax are float32.
    """
    scores = [jnp.where(s.mask, soft_cap(s.score, cap), _MASKED) for s in segments]
    tops = [jnp.max(score, axis=-1, keepdims=True) for score in scores]
    top = jax.lax.stop_gradient(functools.reduce(jnp.maximum, tops))
    masses = [jnp.exp(score - top) for score in scores]
    total = sum(jnp.sum(mass, axis=-1, keepdims=True) for mass in masses)
    mixed = [s.read(m.astype(dtype)) for s, m in zip(segments, masses, strict=True)]
    return (functools.reduce(jnp.add, mixed) / total).astype(dtype)


def products(spec: str, query: Array, key: Array) -> Array:
    """Scores by einsum, in float32."""
    return jnp.einsum(spec, query, key, preferred_element_type=jnp.float32)


def _of_prefix(query: Array, seen: Array, prefix: KeysValues) -> Segment:
    """All tokens attend to the prefix together: one product for each key-value head.

    With the head as the leading axis, XLA on CPU can compute such products in bfloat16 too.

    Args:
      query: [..., G, Q, D].
      seen: bool, broadcasts to [..., G, Q, P].
      prefix: keys [G, D, P] and values [G, P, D].
    """
    (key_GxDxP, value_GxPxD), (*lead, G, Q, _) = prefix, query.shape

    def by_head(x: Array) -> Array:  # [..., G, Q, X] -> [G, M * Q, X]
        x = x.reshape(-1, G, Q, x.shape[-1])
        return x.transpose(1, 0, 2, 3).reshape(G, -1, x.shape[-1])

    def by_token(x: Array) -> Array:  # and back
        x = x.reshape(G, -1, Q, x.shape[-1]).transpose(1, 0, 2, 3)
        return x.reshape(*lead, G, Q, x.shape[-1])

    score = by_token(products("gmd,gdp->gmp", by_head(query), key_GxDxP))
    return Segment(score, seen, lambda weight: by_token(by_head(weight) @ value_GxPxD))


def kept_heads(config: ModelConfig, mesh: Mesh | None) -> int:
    """Key-value heads that are computed and cached (G).

    Where they do not divide over a mesh's axis "model", each is kept as often as it takes.
    """
    return config.kv_heads if mesh is None else math.lcm(config.kv_heads, mesh.shape[MODEL_AXIS])


class Attention(nn.Module):
    """Attention with its projections, over new tokens and over earlier keys from the caller.

    Attributes:
      config: the model's config.
      local: whether only the last `config.window` tokens are seen.
      dtype: the dtype of matrix products.
      mesh: as in `Decoder`.
    """

    config: ModelConfig
    local: bool
    dtype: DTypeLike
    mesh: Mesh | None

    def setup(self) -> None:
        c, how = self.config, {"dtype": self.dtype, "mesh": self.mesh}
        repeats = kept_heads(c, self.mesh) // c.kv_heads
        self.query = Linear((c.heads, c.head_dim), **how)
        self.key = Linear((c.kv_heads, c.head_dim), repeats=repeats, **how)
        self.value = Linear((c.kv_heads, c.head_dim), repeats=repeats, **how)
        self.out = Linear((c.width,), inputs=2, **how)
        if c.qk_norm:
            self.query_norm, self.key_norm = RMSNorm(), RMSNorm()

    def turns(self, positions: int) -> tuple[np.ndarray, np.ndarray]:
        """Of this layer: [positions, D / 2]."""
        c = self.config
        return turns(positions, c.head_dim, c.local_rope_base if self.local else c.rope_base)

    def project(self, x: Array, sin: AnyArray, cos: AnyArray) -> tuple[Array, Array, Array]:
        """Query [..., G, H / G, D], key and value [..., G, D] of tokens x [..., E], rotated."""
        c = self.config
        query, key, value = self.query(x), self.key(x), self.value(x)
        if c.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        query = query * (c.query_divisor or c.head_dim) ** -0.5
        query = rotate(query, sin, cos).reshape(*key.shape[:-1], -1, c.head_dim)
        return query, rotate(key, sin, cos), value

    def visible(self, distance: Array) -> Array:
        """Whether a query sees a key this many tokens before it: bool."""
        seen = distance >= 0
        return seen & (distance < self.config.window) if self.local else seen

    def merge(self, segments: Sequence[Segment], x: Array) -> Array:
        """Attends and projects: [..., E] for the querying tokens x [..., E]."""
        mixed = attend(segments, self.config.attention_cap, x.dtype)
        return self.out(mixed.reshape(*x.shape[:-1], self.config.heads, self.config.head_dim))

    def full(self, x_BxTxE: Array, prefix: KeysValues) -> tuple[Array, KeysValues]:
        """Causal attention of rows to themselves and to a prefix, and their keys and values."""
        P, T = prefix[1].shape[1], x_BxTxE.shape[1]
        position_T = P + jnp.arange(T)
        sin, cos = (x[None, P:] for x in self.turns(P + T))
        query, key, value = self.project(x_BxTxE, sin, cos)
        segments = [
            Segment(
                products("btgqd,bsgd->btgqs", query, key),
                self.visible(position_T[:, None] - position_T[None])[None, :, None, None],
                lambda weight: jnp.einsum("btgqs,bsgd->btgqd", weight, value),
            )
        ]
        if P:
            distance = position_T[:, None] - jnp.arange(P)[None]
            seen = self.visible(distance)[None, :, None, None]
            segments.insert(0, _of_prefix(query, seen, prefix))
        cache = key.transpose(0, 2, 3, 1), value.transpose(0, 2, 1, 3)
        return self.merge(segments, x_BxTxE), cache

    def decode(
        self, x_AxE: Array, position_A: Array, rows: DecodeRows, caches: Caches
    ) -> tuple[Array, KeysValues]:
        """Attention of one new token in each row, and the rows' new cache."""
        B, R = caches.response[0].shape[0], caches.response[1].shape[1]
        tables = self.turns(caches.prefix[1].shape[1] + caches.prompt[1].shape[2] + R)
        query, key, value = self.project(x_AxE, *(jnp.asarray(x)[position_A] for x in tables))
        A, G = query.shape[:2]

        def by_head(x: Array) -> Array:  # [A, G, ...] -> [B, ...]
            return x.swapaxes(0, 1).reshape(B, *x.shape[2:])

        def by_row(x: Array) -> Array:  # and back
            return x.reshape(G, A, *x.shape[1:]).swapaxes(0, 1)

        write = jax.lax.dynamic_update_slice_in_dim
        entry = rows.clock % R
        key_BxDxR = write(caches.response[0], by_head(key)[:, :, None], entry, axis=2)
        value_BxRxD = write(caches.response[1], by_head(value)[:, None], entry, axis=1)
        age_1xR = (rows.clock - jnp.arange(R)[None]) % R
        own = Segment(
            by_row(products("bqd,bdr->bqr", by_head(query), key_BxDxR)),
            ((age_1xR <= rows.index_A[:, None]) & self.visible(age_1xR))[:, None, None],
            lambda weight: by_row(by_head(weight) @ value_BxRxD),
        )
        segments = [self._of_prompt(query, position_A, rows, caches), own]
        if caches.prefix[1].shape[1]:
            P = caches.prefix[1].shape[1]
            seen = self.visible(position_A[:, None] - jnp.arange(P)[None])[:, None, None]
            segments.insert(0, _of_prefix(query, seen, caches.prefix))
        return self.merge(segments, x_AxE), (key_BxDxR, value_BxRxD)

    def _of_prompt(
        self, query: Array, position_A: Array, rows: DecodeRows, caches: Caches
    ) -> Segment:
        """All rows of a prompt attend to it together, so its keys are read once."""
        key_SxGxDxP, value_SxGxPxD = caches.prompt
        (S, G, P, _), (_, K), Q = value_SxGxPxD.shape, rows.row_SxK.shape, query.shape[2]
        place_1xP = jnp.arange(P)[None]
        seen = place_1xP < rows.length_S[rows.prompt_A][:, None]
        distance = position_A[:, None] - caches.prefix[1].shape[1] - place_1xP

        def by_prompt(x: Array) -> Array:  # [A, G, Q, X] -> [S, G, K * Q, X]
            x = x[rows.row_SxK]
            return x.transpose(0, 2, 1, 3, 4).reshape(S, G, K * Q, x.shape[-1])

        def by_row(x: Array) -> Array:  # and back
            x = x.reshape(S, G, K, Q, x.shape[-1]).transpose(0, 2, 1, 3, 4)
            return x[rows.prompt_A, rows.place_A]

        score = products("sgmd,sgdp->sgmp", by_prompt(query), key_SxGxDxP)
        return Segment(
            by_row(score),
            (seen & self.visible(distance))[:, None, None],
            lambda weight: by_row(by_prompt(weight) @ value_SxGxPxD),
        )
