"""The rows of a training, taken on the devices: own responses come from where they are.

A host knows which rows a step takes and how long they are, and holds the prompts and the labels. It
does not hold the responses, which are split over the devices of all hosts.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from boostlm.engine.prompt_table import PromptTable
from boostlm.engine.tokenizer import PAD_ID
from boostlm.lm.sharding import AXIS, row_sharding
from boostlm.lm.train_step import Batch


class TrainingRows(NamedTuple):
    """The C rows of all steps, in order.

    Attributes:
      take: int [B], numbers of rows -> those rows, a Batch [B, P + R].
      length_C: int32, tokens of each row up to the end of its response.
    """

    take: Callable[[np.ndarray], Batch]
    length_C: np.ndarray


class Examples(NamedTuple):
    """Responses that every host holds: labels, or a seed model's examples.

    Attributes:
      prompt_id_L: int32.
      tokens_LxR: int32, padded on the right.
      length_L: int32.
    """

    prompt_id_L: np.ndarray
    tokens_LxR: np.ndarray
    length_L: np.ndarray


def no_examples(R: int) -> Examples:
    """No responses, of R tokens."""
    return Examples(*(np.zeros(shape, np.int32) for shape in ((0,), (0, R), (0,))))


class OwnResponses(NamedTuple):
    """The model's responses, split by prompt over the devices that also take the rows.

    Attributes:
      tokens_NxKxR: int32, padded on the right.
      length_NxK: int32.
    """

    tokens_NxKxR: Array
    length_NxK: Array


def training_rows(
    mesh: Mesh,
    prompts: PromptTable,
    own: OwnResponses | None,
    examples: Examples,
    index_C: np.ndarray,
    valid_C: np.ndarray,
) -> TrainingRows:
    """Rows of prompt and response, with weight 1 on the response's tokens, EOS included.

    Args:
      mesh: the devices along one axis, over which each step's rows are split.
      prompts: with P tokens besides the prefix, which is not a part of the rows.
      own: responses of at most R tokens; None for none.
      examples: the same; L may be 0.
      index_C: int32, which responses, as `draw` numbers them: own ones first, then examples.
      valid_C: bool, False for rows that weigh nothing.
    """
    K, owned = (own.length_NxK.shape[1], own.length_NxK.size) if own else (1, 0)
    none = len(examples.length_L) == 0
    prompt_id_L, tokens_LxR, length_L = (
        np.zeros((1, *x.shape[1:]), x.dtype) if none else x for x in examples
    )
    from_own_C = index_C < owned
    place_C = np.where(from_own_C, index_C, -1).astype(np.int32)
    example_C = np.where(from_own_C, 0, index_C - owned)
    prompt_id_C = np.where(from_own_C, index_C // K, prompt_id_L[example_C])
    length_C = np.where(from_own_C, 0, length_L[example_C]).astype(np.int32)
    pick_lengths, rows_of = _programs(mesh)
    if own:
        length_C += np.asarray(pick_lengths(own.length_NxK, place_C))

    def take(rows_B: np.ndarray) -> Batch:
        given_BxR = np.where(from_own_C[rows_B, None], PAD_ID, tokens_LxR[example_C[rows_B]])
        prompt_id_B = prompt_id_C[rows_B]
        return rows_of(
            own.tokens_NxKxR if own else None,
            place_C[rows_B],
            given_BxR,
            prompts.tokens_NxP[prompt_id_B],
            prompts.length_N[prompt_id_B],
            length_C[rows_B],
            valid_C[rows_B],
        )

    return TrainingRows(take, prompts.length_N[prompt_id_C] + length_C)


@functools.cache
def _programs(mesh: Mesh) -> tuple[Callable[..., Array], Callable[..., Batch]]:
    """`pick_lengths` and `rows_of`, compiled once for all rounds."""
    split = functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(AXIS), P()))

    @jax.jit
    @functools.partial(split, out_specs=P())
    def pick_lengths(length_NxK: Array, place_C: Array) -> Array:
        return jax.lax.psum(_picked(length_NxK, place_C), AXIS)

    @functools.partial(split, out_specs=P(AXIS))
    def pick_tokens(tokens_NxKxR: Array, place_B: Array) -> Array:
        return jax.lax.psum_scatter(_picked(tokens_NxKxR, place_B), AXIS, tiled=True)

    @functools.partial(jax.jit, out_shardings=row_sharding(mesh))
    def rows_of(
        tokens_NxKxR: Array | None,
        place_B: Array,
        given_BxR: Array,
        prompt_BxP: Array,
        start_B: Array,
        length_B: Array,
        valid_B: Array,
    ) -> Batch:
        tokens_BxR = given_BxR
        if tokens_NxKxR is not None:
            tokens_BxR = tokens_BxR + pick_tokens(tokens_NxKxR, place_B)
        P_, R = prompt_BxP.shape[1], tokens_BxR.shape[1]
        place_1xT = jnp.arange(P_ + R)[None]
        source_BxT = jnp.clip(place_1xT - start_B[:, None], 0, R - 1)
        end_Bx1 = (start_B + length_B)[:, None]
        in_response_BxT = (place_1xT >= start_B[:, None]) & (place_1xT < end_Bx1)
        padded_BxT = jnp.pad(prompt_BxP, ((0, 0), (0, R)), constant_values=PAD_ID)
        response_BxT = jnp.take_along_axis(tokens_BxR, source_BxT, axis=1)
        tokens_BxT = jnp.where(in_response_BxT, response_BxT, padded_BxT)
        return Batch(tokens_BxT, (in_response_BxT & valid_B[:, None]).astype(jnp.float32))

    return pick_lengths, rows_of


def _picked(x_NxK: Array, place_C: Array) -> Array:
    """Inside shard_map: the entries at these places of [N * K]; 0 for those of other devices."""
    flat = x_NxK.reshape(-1, *x_NxK.shape[2:])
    local_C = place_C - jax.lax.axis_index(AXIS) * len(flat)
    here_C = (place_C >= 0) & (local_C >= 0) & (local_C < len(flat))
    picked = flat[jnp.clip(local_C, 0, len(flat) - 1)]
    return jnp.where(here_C.reshape(-1, *[1] * (picked.ndim - 1)), picked, 0)
