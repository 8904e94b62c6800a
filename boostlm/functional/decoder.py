"""A decoder-only transformer in flax.linen, and its `LanguageModel` functions.

Pre-norm blocks of grouped-query attention with rotary positions and a gated-GELU MLP, RMSNorm
that scales by (1 + w), and one scaled embedding table for input and output. `ModelConfig` adds what
Gemma 2 (arXiv 2408.00118) and Gemma 3 (arXiv 2503.19786) have besides; `boostlm.models.gemma` names
their configs.

Suffixes: B prompts or rows, T query tokens, S key tokens, K responses a prompt, P prompt tokens,
R response tokens, H heads, G key-value heads, D head width, E model width, V vocabulary.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.sharding import Mesh

from boostlm.config import ModelConfig
from boostlm.functional.language_model import LanguageModel
from boostlm.functional.linear import Linear
from boostlm.functional.sharding import gathered, spread

_MASKED = -1e30  # finite: a row with nothing to attend to gives no NaN
_AXES = {3: "sgd", 4: "bsgd", 5: "btsgd"}  # of keys and values


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
      x: [B, T, heads, D].
      position: int32 [B, T].
      base: the longest wavelength over 2 pi.
    """
    half = x.shape[-1] // 2
    frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = jnp.einsum("bt,d->btd", position.astype(jnp.float32), frequency)[:, :, None]
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    first, second = x[..., :half], x[..., half:]
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)


def attend(query_BxTxHxD: Array, *segments: tuple[Array, Array, Array], cap: float) -> Array:
    """Softmax attention over the keys of several caches together, grouped queries.

    Args:
      query_BxTxHxD: already scaled.
      *segments: (key, value, mask): key and value [S, G, D], shared by all rows, [B, S, G, D],
        shared by all T queries of a row, or [B, T, S, G, D], each query its own; mask bool
        [B, T, S].
      cap: soft cap on the scores, 0 for none.

    Returns:
      [B, T, H, D].
    """
    B, T, H, D = query_BxTxHxD.shape
    groups = segments[0][0].shape[-2]
    query = query_BxTxHxD.reshape(B, T, groups, H // groups, D)
    logits = []
    for key, _, mask_BxTxS in segments:
        spec = f"btgqd,{_AXES[key.ndim]}->btgqs"
        score = jnp.einsum(spec, query, key, preferred_element_type=jnp.float32)
        logits.append(jnp.where(mask_BxTxS[:, :, None, None, :], soft_cap(score, cap), _MASKED))
    weight = jax.nn.softmax(jnp.concatenate(logits, axis=-1), axis=-1).astype(query.dtype)
    out, start = jnp.zeros_like(query), 0
    for _, value, mask_BxTxS in segments:
        spec = f"btgqs,{_AXES[value.ndim]}->btgqd"
        stop = start + mask_BxTxS.shape[-1]
        out += jnp.einsum(spec, weight[..., start:stop], value)
        start = stop
    return out.reshape(B, T, H, D)


class Attention(nn.Module):
    """Projections around `attend`; the caller says which keys there are besides the new ones.

    Attributes:
      config: of the model.
      local: whether only the last `config.window` tokens are seen.
      dtype: of matrix products.
      mesh: of `Decoder`.
    """

    config: ModelConfig
    local: bool
    dtype: jnp.dtype
    mesh: Mesh | None

    def setup(self):
        c, how = self.config, {"dtype": self.dtype, "mesh": self.mesh}
        self.query = Linear((c.heads, c.head_dim), **how)
        self.key = Linear((c.kv_heads, c.head_dim), **how)
        self.value = Linear((c.kv_heads, c.head_dim), **how)
        self.out = Linear((c.width,), inputs=2, **how)
        if c.qk_norm:
            self.query_norm, self.key_norm = RMSNorm(), RMSNorm()

    def project(self, x_BxTxE: Array, position_BxT: Array) -> tuple[Array, Array, Array]:
        """Query, key and value of new tokens, rotated to their positions."""
        c = self.config
        query, key, value = self.query(x_BxTxE), self.key(x_BxTxE), self.value(x_BxTxE)
        if c.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        query = query * (c.query_divisor or c.head_dim) ** -0.5
        base = c.local_rope_base if self.local else c.rope_base
        return rotate(query, position_BxT, base), rotate(key, position_BxT, base), value

    def visible(self, position: Array, key_position: Array) -> Array:
        """Whether a query sees a key, by their positions (broadcast): bool."""
        distance = position - key_position
        seen = distance >= 0
        return seen & (distance < self.config.window) if self.local else seen

    def full(
        self, x_BxTxE: Array, position_BxT: Array, prefix: tuple[Array, Array] | None = None
    ) -> tuple[Array, tuple[Array, Array]]:
        """Causal attention of a row to itself and to the prefix; also gives its keys and values.

        Args:
          x_BxTxE: the row.
          position_BxT: int32, positions, those of the prefix counted.
          prefix: keys and values [1, P, G, D] at positions 0..P-1, which stand before every row.
        """
        query, key, value = self.project(x_BxTxE, position_BxT)
        segments = [(key, value, self.visible(position_BxT[:, :, None], position_BxT[:, None]))]
        if prefix is not None:
            (key_PxGxD,), (value_PxGxD,) = prefix
            before = self.visible(position_BxT[:, :, None], jnp.arange(len(key_PxGxD)))
            segments.append((key_PxGxD, value_PxGxD, before))
        mixed = attend(query, *segments, cap=self.config.attention_cap)
        return self.out(mixed), (key, value)

    def decode(self, x_BxKxE, step, length_B, prompt_cache, response_cache):
        """One new token for each of a prompt's K responses."""
        key_BxKxRxGxD, value_BxKxRxGxD = response_cache
        B, K, R = key_BxKxRxGxD.shape[:3]
        position_BxK = jnp.broadcast_to((length_B + step)[:, None], (B, K))
        query, key, value = self.project(x_BxKxE, position_BxK)
        write = jax.lax.dynamic_update_slice_in_dim
        key_BxKxRxGxD = write(key_BxKxRxGxD, key[:, :, None], step, axis=2)
        value_BxKxRxGxD = write(value_BxKxRxGxD, value[:, :, None], step, axis=2)
        place_1xP = jnp.arange(prompt_cache[0].shape[1])[None]
        length_Bx1 = length_B[:, None]
        in_prompt = (place_1xP < length_Bx1) & self.visible(length_Bx1 + step, place_1xP)
        in_prompt = jnp.broadcast_to(in_prompt[:, None], (B, K, in_prompt.shape[1]))
        written = jnp.broadcast_to(self.visible(step, jnp.arange(R)), (B, K, R))
        mixed = attend(
            query,
            (*prompt_cache, in_prompt),
            (key_BxKxRxGxD, value_BxKxRxGxD, written),
            cap=self.config.attention_cap,
        )
        return self.out(mixed), (key_BxKxRxGxD, value_BxKxRxGxD)


class Block(nn.Module):
    """Attention and MLP, each on a normalised input and added to the stream.

    With `config.post_norms`, what is added is normalised too. Attributes as in `Attention`.
    """

    config: ModelConfig
    local: bool
    dtype: jnp.dtype
    mesh: Mesh | None

    def setup(self):
        c, how = self.config, {"dtype": self.dtype, "mesh": self.mesh}
        self.attention_norm, self.mlp_norm = RMSNorm(), RMSNorm()
        if c.post_norms:
            self.post_attention_norm, self.post_mlp_norm = RMSNorm(), RMSNorm()
        self.attention = Attention(c, self.local, **how)
        self.gate, self.up = Linear((c.mlp_width,), **how), Linear((c.mlp_width,), **how)
        self.down = Linear((c.width,), **how)

    def add(self, x: Array, mixed: Array) -> Array:
        """The stream after attention, and then the MLP, have been added to it."""
        x = x + (self.post_attention_norm(mixed) if self.config.post_norms else mixed)
        y = self.mlp_norm(x)
        y = self.down(nn.gelu(self.gate(y), approximate=True) * self.up(y))
        return x + (self.post_mlp_norm(y) if self.config.post_norms else y)

    def full(self, x_BxTxE, position_BxT, prefix=None):
        mixed, cache = self.attention.full(self.attention_norm(x_BxTxE), position_BxT, prefix)
        return self.add(x_BxTxE, mixed), cache

    def decode(self, x_BxKxE, step, length_B, prompt_cache, response_cache):
        mixed, cache = self.attention.decode(
            self.attention_norm(x_BxKxE), step, length_B, prompt_cache, response_cache
        )
        return self.add(x_BxKxE, mixed), cache


class Decoder(nn.Module):
    """Token ids to logits, for whole rows (`full`) and one token at a time (`decode`).

    Attributes:
      config: of the model.
      vocab_size: V.
      dtype: of matrix products and of the stream between blocks. Parameters, norms, scores,
        softmax, soft caps and logits are float32 whatever it is.
      remat: compute a block's inner values again in the backward pass, keeping only its input.
      mesh: over which parameters are sharded (`sharding`); None if each device has them whole.
    """

    config: ModelConfig
    vocab_size: int
    dtype: jnp.dtype = jnp.float32
    remat: bool = False
    mesh: Mesh | None = None

    def setup(self):
        c = self.config
        block = nn.remat(Block, methods=["full"]) if self.remat else Block
        self.embedding = nn.Embed(
            self.vocab_size, c.width, embedding_init=nn.initializers.normal(c.width**-0.5)
        )
        local = [(i + 1) % c.global_every != 0 for i in range(c.layers)]
        self.blocks = [block(c, local[i], self.dtype, self.mesh) for i in range(c.layers)]
        self.final_norm = RMSNorm()

    def embed(self, tokens: Array) -> Array:
        x = self.embedding(tokens) * jnp.sqrt(jnp.float32(self.config.width))
        return spread(x.astype(self.dtype), self.mesh)

    def unembed(self, x: Array) -> Array:
        table_VxE = self.embedding.embedding.astype(self.dtype)
        if self.mesh and self.vocab_size % self.mesh.size:  # not split by vocabulary
            table_VxE = gathered(table_VxE, self.mesh)
        x = gathered(self.final_norm(x), self.mesh)  # rather than the table
        logits = jnp.einsum("...e,ve->...v", x, table_VxE, preferred_element_type=jnp.float32)
        return soft_cap(logits, self.config.logit_cap)

    def full(self, tokens_BxT: Array, prefix_cache=None):
        """The stream after the last block, [B, T, E], and each block's keys and values.

        Args:
          tokens_BxT: rows.
          prefix_cache: what this returned as second for one row [1, P] that stands before them all.
        """
        start = 0 if prefix_cache is None else prefix_cache[0][0].shape[1]
        x_BxTxE = self.embed(tokens_BxT)
        position_BxT = jnp.broadcast_to(start + jnp.arange(tokens_BxT.shape[1]), tokens_BxT.shape)
        caches = []
        for block, prefix in zip(self.blocks, prefix_cache or [None] * len(self.blocks)):
            x_BxTxE, cache = block.full(x_BxTxE, position_BxT, prefix)
            caches.append(cache)
        return x_BxTxE, tuple(caches)

    def hidden(self, tokens_BxT: Array, prefix_P: Array) -> Array:
        prefix_cache = self.full(prefix_P[None])[1] if prefix_P.size else None
        return self.full(tokens_BxT, prefix_cache)[0]

    def __call__(self, tokens_BxT: Array) -> Array:
        return self.unembed(self.full(tokens_BxT)[0])

    def prefill(self, tokens_BxP: Array, length_B: Array):
        x_BxPxE, cache = self.full(tokens_BxP)
        last_BxE = jnp.take_along_axis(x_BxPxE, (length_B - 1)[:, None, None], axis=1)[:, 0]
        return self.unembed(last_BxE), cache

    def decode(self, token_BxK, step, length_B, prompt_cache, response_cache):
        x_BxKxE, caches = self.embed(token_BxK), []
        for block, prompt, response in zip(self.blocks, prompt_cache, response_cache, strict=True):
            x_BxKxE, cache = block.decode(x_BxKxE, step, length_B, prompt, response)
            caches.append(cache)
        return self.unembed(x_BxKxE), tuple(caches)


def decoder_lm(
    config: ModelConfig,
    vocab_size: int,
    dtype: jnp.dtype = jnp.float32,
    remat: bool = False,
    mesh: Mesh | None = None,
) -> LanguageModel:
    """The `LanguageModel` functions of a `Decoder`, whose attributes these are."""
    module = Decoder(config, vocab_size, dtype, remat, mesh)

    def response_cache(batch: int, samples: int, length: int):
        empty = jnp.zeros((batch, samples, length, config.kv_heads, config.head_dim), dtype)
        return tuple((empty, empty) for _ in range(config.layers))

    def head(params):
        return {"params": {name: params["params"][name] for name in ("embedding", "final_norm")}}

    return LanguageModel(
        init=lambda key: module.init(key, jnp.zeros((1, 1), jnp.int32)),
        hidden=lambda p, *args: module.apply(p, *args, method=Decoder.hidden),
        head=head,
        unembed=lambda p, x: module.apply(p, x, method=Decoder.unembed),
        prefill=lambda p, tokens, length: module.apply(p, tokens, length, method=Decoder.prefill),
        response_cache=response_cache,
        decode=lambda p, *args: module.apply(p, *args, method=Decoder.decode),
    )
