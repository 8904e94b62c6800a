"""A decoder's parameters, by their tensor names in Hugging Face and GGUF files.

Both store a matrix as [outputs, inputs] and the embedding table as [V, E]. GGUF stores 1 + w where
RMSNorm's parameter is w.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from boostlm.config import ModelConfig
from boostlm.errors import BoostError
from boostlm.lm.decoder import decoder_lm
from boostlm.lm.language_model import Params

EMBEDDING = "params/embedding/embedding"

# Path of a parameter -> (Hugging Face's name, GGUF's name), both without ".weight".
_MODEL = {
    EMBEDDING: ("model.embed_tokens", "token_embd"),
    "params/final_norm/scale": ("model.norm", "output_norm"),
}
_LAYER = {
    "attention_norm/scale": ("input_layernorm", "attn_norm"),
    "attention/query/kernel": ("self_attn.q_proj", "attn_q"),
    "attention/key/kernel": ("self_attn.k_proj", "attn_k"),
    "attention/value/kernel": ("self_attn.v_proj", "attn_v"),
    "attention/query_norm/scale": ("self_attn.q_norm", "attn_q_norm"),
    "attention/key_norm/scale": ("self_attn.k_norm", "attn_k_norm"),
    "attention/out/kernel": ("self_attn.o_proj", "attn_output"),
    "post_attention_norm/scale": ("post_attention_layernorm", "post_attention_norm"),
    "mlp_norm/scale": ("pre_feedforward_layernorm", "ffn_norm"),
    "gate/kernel": ("mlp.gate_proj", "ffn_gate"),
    "up/kernel": ("mlp.up_proj", "ffn_up"),
    "down/kernel": ("mlp.down_proj", "ffn_down"),
    "post_mlp_norm/scale": ("post_feedforward_layernorm", "post_ffw_norm"),
}


class Weight(NamedTuple):
    """One parameter here and in a file.

    Attributes:
      path: its path in the parameter tree, with slashes.
      shape: there.
      huggingface: name of the tensor in a Hugging Face checkpoint.
      gguf: name of the tensor in a GGUF file.
      file_shape: shape of the tensor in both.
    """

    path: str
    shape: tuple[int, ...]
    huggingface: str
    gguf: str
    file_shape: tuple[int, ...]

    @property
    def is_matrix(self) -> bool:
        """Whether it maps inputs to outputs."""
        return self.path.endswith("/kernel")

    @property
    def is_norm(self) -> bool:
        """Whether it is the w of an RMSNorm."""
        return self.path.endswith("/scale")

    def from_file(self, tensor: np.ndarray) -> np.ndarray:
        """A file's tensor in the parameter's shape."""
        turned = tensor.T if self.is_matrix else tensor
        return np.ascontiguousarray(turned.reshape(self.shape))

    def to_file(self, array: np.ndarray) -> np.ndarray:
        """The parameter in the file's shape."""
        if self.is_matrix:
            array = array.reshape(self.file_shape[::-1]).T
        return np.ascontiguousarray(array)


class Tensors(NamedTuple):
    """The tensors of a file or of several.

    Attributes:
      where: the file or folder, for messages.
      shapes: name -> shape.
      load: name -> float32 array.
    """

    where: str
    shapes: Mapping[str, tuple[int, ...]]
    load: Callable[[str], np.ndarray]


def weights_of(config: ModelConfig, vocab_size: int) -> list[Weight]:
    """Every parameter of a decoder."""
    init = decoder_lm(config, vocab_size).init
    flat = flatten_dict(jax.eval_shape(init, jax.random.key(0)), sep="/")
    shapes = cast(dict[str, jax.ShapeDtypeStruct], flat)
    return [_weight(path, x.shape) for path, x in shapes.items()]


def _weight(path: str, shape: tuple[int, ...]) -> Weight:
    if path in _MODEL:
        huggingface, gguf = _MODEL[path]
    else:
        _, block, name = path.split("/", 2)
        layer = block.removeprefix("blocks_")
        huggingface, gguf = _LAYER[name]
        huggingface, gguf = f"model.layers.{layer}.{huggingface}", f"blk.{layer}.{gguf}"
    file_shape = shape
    if path.endswith("/kernel"):
        inputs = 2 if path.endswith("/out/kernel") else 1  # axes: [H, D, E], else [E, ...]
        file_shape = (math.prod(shape[inputs:]), math.prod(shape[:inputs]))
    return Weight(path, shape, f"{huggingface}.weight", f"{gguf}.weight", file_shape)


def read_params(
    tensors: Tensors, name_of: Callable[[Weight], str], config: ModelConfig, vocab_size: int
) -> Params:
    """The parameters of a decoder, float32, from a file's tensors.

    Args:
      tensors: the file's tensors.
      name_of: a parameter's name in the file.
      config: the decoder's config.
      vocab_size: the decoder's vocabulary size.

    Raises:
      BoostError: naming every tensor that is missing, has another shape or is not of this model.
    """
    weights = weights_of(config, vocab_size)
    named = {name_of(weight): weight for weight in weights}
    wrong = [f"{name} is missing" for name in named.keys() - tensors.shapes.keys()]
    wrong += [f"{name} is not of this model" for name in tensors.shapes.keys() - named.keys()]
    for name in named.keys() & tensors.shapes.keys():
        shape, expected = tuple(tensors.shapes[name]), named[name].file_shape
        if shape != expected:
            wrong.append(f"{name} has shape {shape}, not {expected}")
    if wrong:
        shown = sorted(wrong)[:20] + [f"and {len(wrong) - 20} more"] * (len(wrong) > 20)
        raise BoostError(f"the tensors of {tensors.where} do not fit:\n  " + "\n  ".join(shown))
    return unflatten_dict(
        {w.path: w.from_file(tensors.load(name)) for name, w in named.items()}, sep="/"
    )
