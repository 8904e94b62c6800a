"""A tiny Gemma, in memory, as a GGUF file or as a Hugging Face directory."""

import dataclasses
import string

import jax
import numpy as np
from etils import epath
from sentencepiece import sentencepiece_model_pb2

from boostlm.engine.tokenizer import Tokenizer
from boostlm.lm.decoder import decoder_lm
from boostlm.pretrained.control_tokens import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED
from boostlm.pretrained.converted import PretrainedModel
from boostlm.pretrained.huggingface import write_huggingface
from boostlm.pretrained.weights import weights_of
from support.gemma_reference import TINY

SPECIALS = ["<pad>", "<eos>", "<bos>", "<unk>"]
CONTROLS = ["<mask>", "[multimodal]", "<unused0>", "<unused98>", "<start_of_turn>", "<end_of_turn>"]
CONTROLS += ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
BYTES = [f"<0x{n:02X}>" for n in range(256)]
PIECES = [*SPECIALS, *CONTROLS, "<table>", "<b>", "\n", *BYTES, "▁", *string.printable[:94]]
TYPES = {piece: NORMAL for piece in PIECES} | dict.fromkeys(BYTES, BYTE)
TYPES |= dict.fromkeys(SPECIALS, CONTROL) | dict.fromkeys(CONTROLS, USER_DEFINED)
TYPES |= {"<unk>": UNKNOWN, "<table>": USER_DEFINED, "<b>": USER_DEFINED, "\n": USER_DEFINED}


def spm_model(types=TYPES):
    """A serialized SentencePiece model with these types."""
    model = sentencepiece_model_pb2.ModelProto()
    for i, piece in enumerate(PIECES):
        model.pieces.add(piece=piece, score=-float(i), type=types[piece])
    spec = model.trainer_spec
    spec.model_type, spec.byte_fallback = sentencepiece_model_pb2.TrainerSpec.BPE, True
    spec.vocab_size = len(PIECES)
    spec.pad_id, spec.eos_id, spec.bos_id, spec.unk_id = range(4)
    spec.pad_piece, spec.eos_piece, spec.bos_piece, spec.unk_piece = SPECIALS
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    return model.SerializeToString()


def tiny_gemma(family="gemma3", tokenizer=None, padding=0, layers=1, **changes):
    """A model with random weights, and rows that pad its table.

    Args:
      family: of TINY.
      tokenizer: one with Gemma's control tokens if it is None.
      padding: rows.
      layers: of one, config.json can tell no pattern but the usual one.
      changes: to its config.
    """
    tokenizer = tokenizer or Tokenizer(spm_model())
    every = TINY[family].global_every if layers > 1 else {"gemma2": 2, "gemma3": 6}[family]
    config = dataclasses.replace(TINY[family], layers=layers, global_every=every, **changes)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(decoder_lm(config, tokenizer.vocab_size).init, jax.random.key(0))

    def random(shape):  # to which GGUF's 1 is added, and taken off again, without rounding
        return rng.integers(-256, 256, shape).astype(np.float32) / 1024

    params = jax.tree.map(lambda x: random(x.shape), shapes)
    return PretrainedModel(config, tokenizer, params, random((padding, config.width)))


def write_directory(folder, model, spm=None):
    """A Hugging Face directory, with another tokenizer.model."""
    write_huggingface(epath.Path(folder), model)
    if spm is not None:
        (epath.Path(folder) / "tokenizer.model").write_bytes(spm)
    return epath.Path(folder)


def write_gguf(path, model, types=TYPES, padding_tokens=0, **ids):
    """A GGUF file; `ids` are of further or other special tokens (eos_token_id=...)."""
    import gguf

    c, writer = model.config, gguf.GGUFWriter(path, "gemma3")
    for key, value in {
        "block_count": c.layers,
        "embedding_length": c.width,
        "feed_forward_length": c.mlp_width,
        "attention.head_count": c.heads,
        "attention.head_count_kv": c.kv_heads,
        "attention.key_length": c.head_dim,
        "attention.sliding_window": c.window,
    }.items():
        writer.add_uint32(f"gemma3.{key}", value)
    writer.add_float32("gemma3.rope.freq_base", c.rope_base)
    more = [f"[PAD{len(PIECES) + i}]" for i in range(padding_tokens)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([*PIECES, *more])
    writer.add_token_scores([-float(i) for i in range(len(PIECES) + len(more))])
    writer.add_token_types([*(types[p] for p in PIECES), *[5] * len(more)])
    roles = {"padding_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "unknown_token_id": 3}
    for name, value in (roles | ids).items():
        writer.add_uint32(f"tokenizer.ggml.{name}", value)
    table = np.asarray(model.params["params"]["embedding"]["embedding"])
    arrays = _flat(model.params) | {
        "params/embedding/embedding": np.concatenate([table, model.dropped_embedding])
    }
    for weight in weights_of(c, len(table)):
        array = weight.to_file(arrays[weight.path])
        writer.add_tensor(weight.gguf, array + 1 if weight.is_norm else array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return epath.Path(path)


def _flat(params):
    from flax.traverse_util import flatten_dict

    return {name: np.asarray(x) for name, x in flatten_dict(params, sep="/").items()}
