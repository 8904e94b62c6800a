"""Reading and writing Hugging Face directories of Gemma 2 and Gemma 3 text models.

config.json, one or several safetensors files (with model.safetensors.index.json), tokenizer.model.
"""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict

from boostlm.config import Config, ModelConfig, validate
from boostlm.engine.tokenizer import PAD_ID, Tokenizer
from boostlm.errors import BoostError
from boostlm.pretrained.converted import PretrainedModel, untrim
from boostlm.pretrained.weights import Tensors, read_params, weights_of
from boostlm.storage.durable_files import new_folder

_GEMMA2, _GEMMA3 = "Gemma2ForCausalLM", "Gemma3ForCausalLM"
_MODEL_TYPE = {_GEMMA2: "gemma2", _GEMMA3: "gemma3_text"}
_PATTERN = {_GEMMA2: 2, _GEMMA3: 6}  # where config.json names no layer_types
_FIXED = {  # features that the decoder lacks
    "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "tie_word_embeddings": True,
    "use_bidirectional_attention": False,
}
TOKENIZER_CONFIG = {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True}
_INDEX, _WHOLE = "model.safetensors.index.json", "model.safetensors"
_SHARD_BYTES = 4 << 30


def read_huggingface(path: epath.Path) -> PretrainedModel:
    """A Gemma 2 or Gemma 3 text model from a Hugging Face directory.

    Raises:
      BoostError: naming what is missing, misshapen, left over or of another architecture.
    """
    raw = _read_json(path / "config.json")
    config = _model_config(raw, str(path / "config.json"))
    if not (path / "tokenizer.model").exists():
        raise BoostError(f"{path} has no tokenizer.model (tokenizer.json alone is not enough)")
    generation = path / "generation_config.json"
    ends = (_read_json(generation) if generation.exists() else raw).get("eos_token_id", [])
    tokenizer = Tokenizer(
        (path / "tokenizer.model").read_bytes(), ends if isinstance(ends, list) else [ends]
    )
    if tokenizer.vocab_size != raw["vocab_size"]:
        raise BoostError(
            f"{path}: tokenizer.model has {tokenizer.vocab_size} tokens, and config.json's "
            f"vocab_size is {raw['vocab_size']}"
        )
    with _open_tensors(path) as tensors:
        params = read_params(tensors, lambda w: w.huggingface, config, tokenizer.vocab_size)
    return PretrainedModel(config, tokenizer, params, np.zeros((0, config.width), np.float32))


def _read_json(file: epath.Path) -> Any:
    if not file.exists():
        raise BoostError(f"{file} is missing")
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise BoostError(f"{file} is not JSON: {error}") from error


def _model_config(raw: Mapping[str, Any], where: str) -> ModelConfig:
    architecture = (raw.get("architectures") or [None])[0]
    if architecture not in _MODEL_TYPE:
        raise BoostError(
            f"{where}: the architecture is {architecture}; {_GEMMA2} and {_GEMMA3} can be converted"
        )
    for name, value in _FIXED.items():
        if raw.get(name, value) not in (value, None):
            raise BoostError(f"{where}: {name} is {raw[name]!r}; only {value!r} can be converted")
    try:
        rope_base, local_rope_base = _rope_bases(raw, architecture, where)
        head_dim, divisor = raw["head_dim"], raw["query_pre_attn_scalar"]
        config = ModelConfig(
            layers=raw["num_hidden_layers"],
            width=raw["hidden_size"],
            heads=raw["num_attention_heads"],
            kv_heads=raw["num_key_value_heads"],
            head_dim=head_dim,
            mlp_width=raw["intermediate_size"],
            rope_base=rope_base,
            global_every=_global_every(raw, architecture, where),
            window=raw["sliding_window"],
            local_rope_base=local_rope_base,
            query_divisor=0 if divisor == head_dim else divisor,
            qk_norm=architecture == _GEMMA3,
            post_norms=True,
            attention_cap=raw.get("attn_logit_softcapping") or 0.0,
            logit_cap=raw.get("final_logit_softcapping") or 0.0,
        )
    except KeyError as error:
        raise BoostError(f"{where}: {error.args[0]} is missing") from error
    validate(Config(model=config))
    return config


def _rope_bases(raw: Mapping[str, Any], architecture: str, where: str) -> tuple[float, float]:
    """Of global and of local layers. Since transformers 5 they are in rope_parameters."""
    ropes = raw.get("rope_parameters")
    if ropes is None:
        local = raw["rope_theta"] if architecture == _GEMMA2 else raw["rope_local_base_freq"]
        ropes = {
            "full_attention": {**(raw.get("rope_scaling") or {}), "rope_theta": raw["rope_theta"]},
            "sliding_attention": {"rope_theta": local},
        }
    elif architecture == _GEMMA2:
        ropes = {"full_attention": ropes, "sliding_attention": ropes}
    for rope in ropes.values():
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise BoostError(f"{where}: rotary scaling {kind!r} cannot be converted")
    every, local = (float(ropes[k]["rope_theta"]) for k in ("full_attention", "sliding_attention"))
    return every, local


def _global_every(raw: Mapping[str, Any], architecture: str, where: str) -> int:
    kinds = raw.get("layer_types")
    if kinds is None:
        return raw.get("sliding_window_pattern") or _PATTERN[architecture]
    # The usual pattern comes first, since several patterns describe a model of few layers.
    for every in (_PATTERN[architecture], *range(1, len(kinds) + 2)):
        if kinds == _layer_types(len(kinds), every):
            return every
    raise BoostError(f"{where}: layer_types has no regular pattern: {kinds}")


def _layer_types(layers: int, every: int) -> list[str]:
    return ["sliding_attention" if (i + 1) % every else "full_attention" for i in range(layers)]


@contextmanager
def _open_tensors(path: epath.Path) -> Generator[Tensors]:
    """The tensors of model.safetensors, or of the files that its index names."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise BoostError("this needs safetensors: pip install 'boostlm[convert]'") from error
    names = [_WHOLE]
    if (path / _INDEX).exists():
        names = sorted(set(_read_json(path / _INDEX)["weight_map"].values()))
    files = {}
    for name in names:
        try:
            # As flax arrays: numpy has no bfloat16.
            opened = safe_open(path / name, framework="flax")
        except (SafetensorError, OSError) as error:
            raise BoostError(f"{path / name} cannot be read: {error}") from error
        files |= dict.fromkeys(opened.keys(), opened)

    def load(name: str) -> np.ndarray:
        return np.asarray(files[name].get_tensor(name), np.float32)

    shapes = {name: tuple(file.get_slice(name).get_shape()) for name, file in files.items()}
    table, head = "model.embed_tokens.weight", "lm_head.weight"
    if {table, head} <= shapes.keys() and np.array_equal(load(table), load(head)):
        del shapes[head]  # the tied table, stored twice
    yield Tensors(str(path), shapes, load)


def write_huggingface(path: epath.Path, model: PretrainedModel) -> None:
    """Writes a directory that `transformers` loads, float32, with the whole vocabulary.

    Raises:
      BoostError: `path` exists, or the model is of an architecture that transformers lacks.
    """
    try:
        from safetensors.numpy import save_file
    except ImportError as error:
        raise BoostError("this needs safetensors: pip install 'boostlm[convert]'") from error
    model = untrim(model)
    raw = _huggingface_config(model.config, model.tokenizer)
    if not model.config.post_norms or _model_config(raw, str(path)) != model.config:
        raise BoostError(
            f"transformers has no architecture for this model: {_GEMMA2} has post_norms and one "
            f"rope_base, {_GEMMA3} has qk_norm besides"
        )
    arrays, weights = flatten_dict(model.params, sep="/"), {}
    with new_folder(path) as folder:
        for weight in weights_of(model.config, model.tokenizer.vocab_size):
            weights[weight.huggingface] = weight.to_file(np.asarray(arrays[weight.path]))
        shards = _shards(weights)
        names = [_WHOLE]
        if len(shards) > 1:
            total = len(shards)
            names = [f"model-{i + 1:05d}-of-{total:05d}.safetensors" for i in range(total)]
            index = {
                "metadata": {"total_size": sum(array.nbytes for array in weights.values())},
                "weight_map": {t: name for name, shard in zip(names, shards) for t in shard},
            }
            (folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n")
        for name, shard in zip(names, shards, strict=True):
            save_file(shard, folder / name, metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(raw, indent=2) + "\n")
        special = {k: raw[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
        (folder / "generation_config.json").write_text(json.dumps(special, indent=2) + "\n")
        (folder / "tokenizer.model").write_bytes(model.tokenizer.model)
        (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG) + "\n")


def _shards(weights: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """The tensors in order, in groups of at most _SHARD_BYTES or of one tensor."""
    shards, room = [], 0
    for name, array in weights.items():
        if not shards or array.nbytes > room:
            shards.append({})
            room = _SHARD_BYTES
        shards[-1][name] = array
        room -= array.nbytes
    return shards


def _huggingface_config(config: ModelConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    architecture = _GEMMA3 if config.qk_norm else _GEMMA2
    raw = {
        "architectures": [architecture],
        "model_type": _MODEL_TYPE[architecture],
        "vocab_size": tokenizer.vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "query_pre_attn_scalar": config.query_divisor or config.head_dim,
        "rope_theta": config.rope_base,
        "sliding_window": config.window,
        "layer_types": _layer_types(config.layers, config.global_every),
        "attn_logit_softcapping": config.attention_cap or None,
        "final_logit_softcapping": config.logit_cap or None,
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": list(tokenizer.stop_token_ids),
        "pad_token_id": PAD_ID,
        "dtype": "float32",
        **_FIXED,
    }
    if architecture == _GEMMA3:
        raw["rope_local_base_freq"] = config.local_rope_base
    else:
        del raw["use_bidirectional_attention"]
    return raw
