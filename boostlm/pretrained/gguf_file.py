"""Reading GGUF files of Gemma 2 and Gemma 3 text models: weights, config and tokenizer.

A GGUF file has no layer pattern, no local rotary base and no query scale. llama.cpp knows them for
each architecture, and so does this module.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from boostlm.config import Config, ModelConfig
from boostlm.config_checks import validate
from boostlm.engine.tokenizer import Tokenizer
from boostlm.errors import BoostError
from boostlm.pretrained.control_tokens import (
    BYTE,
    UNUSED,
    USER_DEFINED,
    checked_types,
    sentencepiece,
)
from boostlm.pretrained.converted import PretrainedModel, read_model
from boostlm.pretrained.weights import Tensors, Weight, weights_of

_GLOBAL_EVERY = {"gemma2": 2, "gemma3": 6}
_OTHER_QUERY_SCALE = {("gemma2", 46), ("gemma3", 62)}  # the 27B models, by number of layers


def read_gguf(path: epath.Path) -> PretrainedModel:
    """A Gemma 2 or Gemma 3 text model from a GGUF file, dequantized to float32.

    Raises:
      BoostError: naming what is missing, misshapen, left over or of another architecture.
    """
    reader, fields = _open(path)
    import gguf  # _open checked that it is there

    try:
        config = _model_config(fields, str(path))
        tokenizer = _tokenizer(fields, str(path))
    except KeyError as error:
        raise BoostError(f"{path}: the field {error.args[0]} is missing") from error
    found = {tensor.name: tensor for tensor in reader.tensors}
    norms = {w.gguf for w in weights_of(config, tokenizer.vocab_size) if w.is_norm}

    def load(name: str) -> np.ndarray:
        array = gguf.dequantize(found[name].data, found[name].tensor_type).astype(np.float32)
        return array - 1 if name in norms else array

    shapes = {name: tuple(int(n) for n in t.shape[::-1]) for name, t in found.items()}
    tensors = Tensors(str(path), shapes, load)
    return read_model(tensors, _gguf_name, config, tokenizer)


def read_tokenizer(path: epath.Path) -> Tokenizer:
    """The tokenizer of a GGUF file alone."""
    fields = _open(path)[1]
    try:
        return _tokenizer(fields, str(path))
    except KeyError as error:
        raise BoostError(f"{path}: the field {error.args[0]} is missing") from error


def _open(path: epath.Path) -> tuple[Any, dict[str, Any]]:
    """A GGUFReader and its fields' values."""
    try:
        import gguf
    except ImportError as error:
        raise BoostError("this needs gguf: pip install 'boostlm[convert]'") from error
    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, OSError) as error:
        raise BoostError(f"{path} is not a readable GGUF file: {error}") from error
    return reader, {name: field.contents() for name, field in reader.fields.items()}


def _gguf_name(weight: Weight) -> str:
    return weight.gguf


def _model_config(fields: Mapping[str, Any], where: str) -> ModelConfig:
    name = fields["general.architecture"]
    if name not in _GLOBAL_EVERY:
        raise BoostError(f"{where}: the architecture is {name}; gemma2 and gemma3 can be converted")
    layers = fields[f"{name}.block_count"]
    scaling = fields.get(f"{name}.rope.scaling.type", "none")
    if (name, layers) in _OTHER_QUERY_SCALE or scaling != "none":
        raise BoostError(
            f"{where}: {name} with {layers} layers and rotary scaling {scaling!r} cannot be "
            "converted from GGUF"
        )
    gemma2 = name == "gemma2"
    config = ModelConfig(
        layers=layers,
        width=fields[f"{name}.embedding_length"],
        heads=fields[f"{name}.attention.head_count"],
        kv_heads=fields[f"{name}.attention.head_count_kv"],
        head_dim=fields[f"{name}.attention.key_length"],
        mlp_width=fields[f"{name}.feed_forward_length"],
        rope_base=fields.get(f"{name}.rope.freq_base", 10_000.0 if gemma2 else 1_000_000.0),
        global_every=_GLOBAL_EVERY[name],
        window=fields[f"{name}.attention.sliding_window"],
        qk_norm=not gemma2,
        post_norms=True,
        attention_cap=fields[f"{name}.attn_logit_softcapping"] if gemma2 else 0.0,
        logit_cap=fields[f"{name}.final_logit_softcapping"] if gemma2 else 0.0,
    )
    validate(Config(model=config))
    return config


def _tokenizer(fields: Mapping[str, Any], where: str) -> Tokenizer:
    """The vocabulary as a SentencePiece BPE model."""
    prefix = "tokenizer.ggml."
    if fields[f"{prefix}model"] != "llama":
        raise BoostError(f"{where}: its tokenizer is {fields[f'{prefix}model']!r}, not 'llama'")
    tokens, scores = fields[f"{prefix}tokens"], fields[f"{prefix}scores"]
    kinds = fields[f"{prefix}token_type"]
    if not len(tokens) == len(scores) == len(kinds):
        raise BoostError(f"{where}: its tokens, scores and token types differ in number")
    whole = len(kinds)
    while whole and kinds[whole - 1] == UNUSED:  # they pad the table, such as [PAD262144]
        whole -= 1
    tokens, scores, kinds = tokens[:whole], scores[:whole], kinds[:whole]
    roles = {role: fields[f"{prefix}{role}_token_id"] for role in ("padding", "bos", "unknown")}
    # An instruction-tuned model's file names the token that ends a turn here.
    given = fields[f"{prefix}eos_token_id"], fields.get(f"{prefix}eot_token_id")
    ends = {token for token in given if token is not None}
    beyond = [token for token in (*roles.values(), *ends) if not 0 <= token < whole]
    if beyond:
        raise BoostError(f"{where}: special tokens {beyond} are not among its {whole} tokens")
    if "<eos>" not in tokens:
        raise BoostError(f"{where}: its vocabulary has no <eos>")
    eos = tokens.index("<eos>")
    specials = {roles["padding"], roles["bos"], eos}
    types = checked_types(tokens, kinds, specials, roles["unknown"], ends, where)
    proto = sentencepiece()
    model = proto.ModelProto()
    for token, score, kind in zip(tokens, scores, types):
        # GGUF stores user-defined pieces as in the text, SentencePiece after normalisation.
        piece = token.replace(" ", "▁") if kind == USER_DEFINED else token
        model.pieces.add(piece=piece, score=score, type=kind)
    spec = model.trainer_spec
    spec.model_type = proto.TrainerSpec.BPE
    spec.vocab_size, spec.byte_fallback = len(tokens), BYTE in kinds
    spec.pad_id, spec.bos_id, spec.eos_id = roles["padding"], roles["bos"], eos
    spec.unk_id = roles["unknown"]
    spec.pad_piece, spec.bos_piece = tokens[spec.pad_id], tokens[spec.bos_id]
    spec.eos_piece, spec.unk_piece = tokens[spec.eos_id], tokens[spec.unk_id]
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    return Tokenizer(model.SerializeToString(), sorted(ends - {eos}))
