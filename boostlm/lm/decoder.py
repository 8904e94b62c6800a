"""A decoder-only transformer in flax.linen, and its `LanguageModel` functions.

Pre-norm blocks of grouped-query attention with rotary positions and a gated-GELU MLP, RMSNorm
that scales by (1 + w), and one scaled embedding table for input and output. `ModelConfig` also has
the features of Gemma 2 (arXiv 2408.00118) and Gemma 3 (arXiv 2503.19786), whose configs are in
`boostlm.pretrained.gemma`. Suffixes as in `boostlm.lm.attention`, and V vocabulary.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.sharding import Mesh
from jax.typing import DTypeLike

from boostlm.config import ModelConfig
from boostlm.lm.attention import Attention, KeysValues, RMSNorm, soft_cap
from boostlm.lm.language_model import NO_PREFIX, Caches, DecodeRows, LanguageModel, Params
from boostlm.lm.linear import Linear
from boostlm.lm.sharding import gather, shard_rows
from boostlm.numerics import AnyArray

Layers = tuple[KeysValues, ...]  # keys and values of each layer


class Block(nn.Module):
    """Attention and MLP, each on a normalised input and added to the stream.

    With `config.post_norms`, their outputs are normalised too. Attributes as in `Attention`.
    """

    config: ModelConfig
    local: bool
    dtype: DTypeLike
    mesh: Mesh | None

    def setup(self) -> None:
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

    def full(self, x_BxTxE: Array, prefix: KeysValues) -> tuple[Array, KeysValues]:
        mixed, cache = self.attention.full(self.attention_norm(x_BxTxE), prefix)
        return self.add(x_BxTxE, mixed), cache

    def decode(
        self, x_AxE: Array, position_A: Array, rows: DecodeRows, caches: Caches
    ) -> tuple[Array, KeysValues]:
        mixed, cache = self.attention.decode(self.attention_norm(x_AxE), position_A, rows, caches)
        return self.add(x_AxE, mixed), cache


class Decoder(nn.Module):
    """Token ids to logits, for whole rows (`full`) and one token at a time (`decode`).

    Attributes:
      config: the model's config.
      vocab_size: V.
      dtype: for matrix products and the stream between blocks. Parameters, norms, scores,
        softmax, soft caps and logits are always float32.
      remat: compute a block's inner values again in the backward pass, keeping only its input.
      mesh: over which parameters are sharded (`sharding`); None if each device has them whole.
    """

    config: ModelConfig
    vocab_size: int
    dtype: DTypeLike = jnp.float32
    remat: bool = False
    mesh: Mesh | None = None

    def setup(self) -> None:
        c = self.config
        block = nn.remat(Block, methods=["full"]) if self.remat else Block
        self.embedding = nn.Embed(
            self.vocab_size, c.width, embedding_init=nn.initializers.normal(c.width**-0.5)
        )
        local = [(i + 1) % c.global_every != 0 for i in range(c.layers)]
        self.blocks = [block(c, local[i], self.dtype, self.mesh) for i in range(c.layers)]
        self.final_norm = RMSNorm()

    def embed(self, tokens: AnyArray) -> Array:
        x = self.embedding(tokens) * jnp.sqrt(jnp.float32(self.config.width))
        return shard_rows(x.astype(self.dtype), self.mesh)

    def unembed(self, x: Array) -> Array:
        table_VxE = self.embedding.embedding.astype(self.dtype)
        if self.mesh and self.vocab_size % self.mesh.size:  # not split by vocabulary
            table_VxE = gather(table_VxE, self.mesh)
        x = gather(self.final_norm(x), self.mesh)  # less data than the table
        logits = jnp.einsum("...e,ve->...v", x, table_VxE, preferred_element_type=jnp.float32)
        return soft_cap(logits, self.config.logit_cap)

    def full(self, tokens_BxT: AnyArray, prefix: Layers) -> tuple[Array, Layers]:
        """The stream after the last block, [B, T, E], and each block's keys and values.

        Args:
          tokens_BxT: rows.
          prefix: from `read_prefix`, for the tokens before every row.
        """
        x_BxTxE, caches = self.embed(tokens_BxT), []
        for block, before in zip(self.blocks, prefix, strict=True):
            x_BxTxE, cache = block.full(x_BxTxE, before)
            caches.append(cache)
        return x_BxTxE, tuple(caches)

    def read_prefix(self, tokens_P: AnyArray) -> Layers:
        nothing = empty_cache(self.config, self.dtype, 0)
        if not tokens_P.size:
            return nothing
        return jax.tree.map(lambda x: x[0], self.full(tokens_P[None], nothing)[1])

    def hidden(self, tokens_BxT: Array, prefix_P: AnyArray) -> Array:
        return self.full(tokens_BxT, self.read_prefix(prefix_P))[0]

    def __call__(self, tokens_BxT: Array) -> Array:
        return self.unembed(self.hidden(tokens_BxT, NO_PREFIX))

    def prefill(self, tokens_BxP: Array, length_B: Array, prefix: Layers) -> tuple[Array, Layers]:
        x_BxPxE, cache = self.full(tokens_BxP, prefix)
        last_BxE = jnp.take_along_axis(x_BxPxE, (length_B - 1)[:, None, None], axis=1)[:, 0]
        return self.unembed(last_BxE), cache

    def decode(self, token_A: Array, rows: DecodeRows, caches: Caches) -> tuple[Array, Layers]:
        prefix_length = caches.prefix[0][1].shape[1]
        position_A = prefix_length + rows.length_S[rows.prompt_A] + rows.index_A
        x_AxE, response = self.embed(token_A), []
        for block, *of_block in zip(self.blocks, *caches, strict=True):
            x_AxE, cache = block.decode(x_AxE, position_A, rows, Caches(*of_block))
            response.append(cache)
        return self.unembed(x_AxE), tuple(response)


def empty_cache(config: ModelConfig, dtype: DTypeLike, *shape: int) -> Layers:
    """Each layer's keys [..., G, D, T] and values [..., G, T, D] for a shape of (..., T), zeros.

    In these layouts, a decoding step multiplies by them directly, without a transposed copy.
    """
    *lead, T = shape
    G, D = config.kv_heads, config.head_dim
    cache = jnp.zeros((*lead, G, D, T), dtype), jnp.zeros((*lead, G, T, D), dtype)
    return (cache,) * config.layers


def response_cache(config: ModelConfig, dtype: DTypeLike, rows: int, length: int) -> Layers:
    """The same for rows, [A * G, ...]: with the two axes apart, XLA copies all of it at each step.

    (It fuses the write with the reshape that a product over two batch axes begins with, does so
    twice, and then cannot write in place.)
    """
    cache = empty_cache(config, dtype, rows, length)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), cache)


def decoder_lm(
    config: ModelConfig,
    vocab_size: int,
    dtype: DTypeLike = jnp.float32,
    remat: bool = False,
    mesh: Mesh | None = None,
) -> LanguageModel:
    """The `LanguageModel` functions of a `Decoder`, whose attributes these are.

    Example:
      >>> from boostlm.config import ModelConfig
      >>> model = boostlm.decoder_lm(ModelConfig(layers=1, width=32), vocab_size=16)
      >>> params = model.init(jax.random.key(0))
      >>> jax.tree.leaves(params["params"]["embedding"])[0].shape
      (16, 32)
    """
    module = Decoder(config, vocab_size, dtype, remat, mesh)

    def compact(x: Array) -> Array:
        return x.astype(dtype) if x.ndim > 1 else x

    def method(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda params, *args: module.apply(params, *args, method=function)

    def head(params: Params) -> Params:
        return {"params": {name: params["params"][name] for name in ("embedding", "final_norm")}}

    return LanguageModel(
        init=lambda key: module.init(key, jnp.zeros((1, 1), jnp.int32)),
        hidden=method(Decoder.hidden),
        unembed=method(Decoder.unembed),
        head=head,
        compact=lambda params: jax.tree.map(compact, params),
        read_prefix=method(Decoder.read_prefix),
        prefill=method(Decoder.prefill),
        prompt_cache=functools.partial(empty_cache, config, dtype),
        response_cache=functools.partial(response_cache, config, dtype),
        decode=method(Decoder.decode),
    )
