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

from boostlm.config import Config, ModelConfig
from boostlm.config_checks import validate
from boostlm.engine.tokenizer import PAD_ID, Tokenizer
from boostlm.errors import BoostError
from boostlm.pretrained.control_tokens import checked_model
from boostlm.pretrained.converted import PretrainedModel, read_model, untrim
from boostlm.pretrained.weights import EMBEDDING, Tensors, weights_of
from boostlm.storage.durable_files import new_folder

_GEMMA2, _GEMMA3 = "Gemma2ForCausalLM", "Gemma3ForCausalLM"
_MODEL_TYPE = {_GEMMA2: "gemma2", _GEMMA3: "gemma3_text"}
_PATTERN = {_GEMMA2: 2, _GEMMA3: 6}  # of layers; Gemma 3 may name another number
# What transformers' config classes take where config.json lacks a key.
_WHOLE_NUMBERS = {
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    _GEMMA2: {
        **_WHOLE_NUMBERS,
        "vocab_size": 256_000,
        "eos_token_id": 1,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "rope_theta": 10_000.0,
    },
    _GEMMA3: {
        **_WHOLE_NUMBERS,
        "vocab_size": 262_208,
        "eos_token_id": 1,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        "rope_theta": 1_000_000.0,
        "rope_local_base_freq": 10_000.0,
    },
}
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
    given = _read_json(path / "config.json")
    raw = _with_defaults(given, str(path / "config.json"))
    config = _model_config(raw, str(path / "config.json"))
    if not (path / "tokenizer.model").exists():
        raise BoostError(f"{path} has no tokenizer.model (tokenizer.json alone is not enough)")
    generation = path / "generation_config.json"
    ends = (_read_json(generation) if generation.exists() else raw).get("eos_token_id")
    ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
    file = path / "tokenizer.model"
    tokenizer = Tokenizer(checked_model(file.read_bytes(), ends, str(file)), ends)
    try:
        with _open_tensors(path) as tensors:
            model = read_model(tensors, lambda w: w.huggingface, config, tokenizer)
    except BoostError as error:
        absent = [name for name in _WHOLE_NUMBERS if name not in given]
        if not absent:
            raise
        lacking = "; ".join(f"{name} is missing: {_WHOLE_NUMBERS[name]}" for name in absent)
        raise BoostError(
            f"{error}\n  In config.json, and so taken as transformers does: {lacking}"
        ) from error
    _check_layer_types(raw, str(path / "config.json"))
    tokens, rows = tokenizer.vocab_size, tokenizer.vocab_size + len(model.dropped_embedding)
    if raw["vocab_size"] not in (tokens, rows):
        raise BoostError(
            f"{path}: tokenizer.model has {tokens} tokens, the embedding table has {rows} rows, "
            f"and config.json's vocab_size is {raw['vocab_size']}"
        )
    return model


def _read_json(file: epath.Path) -> Any:
    if not file.exists():
        raise BoostError(f"{file} is missing")
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise BoostError(f"{file} is not JSON: {error}") from error


def _with_defaults(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A config.json with every key that is read here, the architecture among them."""
    of_type = {kind: name for name, kind in _MODEL_TYPE.items()}
    architecture = (raw.get("architectures") or [of_type.get(raw.get("model_type", ""))])[0]
    if architecture not in _MODEL_TYPE:
        raise BoostError(
            f"{where}: the architecture is {architecture}; {_GEMMA2} and {_GEMMA3} can be converted"
        )
    return {**_FIXED, **_DEFAULTS[architecture], **raw, "architectures": [architecture]}


def _model_config(raw: Mapping[str, Any], where: str) -> ModelConfig:
    architecture = raw["architectures"][0]
    for name, value in _FIXED.items():
        allowed = (value, None) if name == "use_bidirectional_attention" else (value,)
        if raw.get(name, value) not in allowed:
            raise BoostError(f"{where}: {name} is {raw[name]!r}; only {value!r} can be converted")
    for name in (*_WHOLE_NUMBERS, "vocab_size"):
        if type(raw[name]) is not int:
            raise BoostError(f"{where}: {name} is {raw[name]!r}, not a whole number")
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
        attention_cap=raw["attn_logit_softcapping"] or 0.0,
        logit_cap=raw["final_logit_softcapping"] or 0.0,
    )
    validate(Config(model=config))
    return config


def _rope_bases(raw: Mapping[str, Any], architecture: str, where: str) -> tuple[float, float]:
    """Of global and of local layers. Since transformers 5 they are in rope_parameters."""
    scaling, given = raw.get("rope_scaling") or {}, raw.get("rope_parameters") or {}
    usual = {"rope_theta": raw["rope_theta"]}
    if architecture == _GEMMA2:
        full = local = {**usual, **(scaling or given)}
    else:
        full = {**usual, **(given.get("full_attention") or {}), **scaling}
        usual = {"rope_theta": raw["rope_local_base_freq"]}
        local = {**usual, **(given.get("sliding_attention") or {})}
    for rope in (full, local):
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise BoostError(f"{where}: rotary scaling {kind!r} cannot be converted")
        if "full_attention" in rope or type(rope["rope_theta"]) not in (int, float):
            raise BoostError(f"{where}: it gives no rope_theta for its layers: {rope}")
    return float(full["rope_theta"]), float(local["rope_theta"])


def _global_every(raw: Mapping[str, Any], architecture: str, where: str) -> int:
    kinds, usual = raw.get("layer_types"), _PATTERN[architecture]
    if kinds is None:
        every = usual if architecture == _GEMMA2 else raw.get("sliding_window_pattern", usual)
        if type(every) is not int or every < 1:
            raise BoostError(f"{where}: sliding_window_pattern is {every!r}, not a whole number")
        return every
    # The usual pattern comes first, since several patterns describe a model of few layers.
    for every in (usual, *range(1, len(kinds) + 2)):
        if kinds == _layer_types(len(kinds), every):
            return every
    raise BoostError(f"{where}: layer_types has no regular pattern: {kinds}")


def _check_layer_types(raw: Mapping[str, Any], where: str) -> None:
    """Call it after the tensors are read: their error messages are more precise."""
    kinds, layers = raw.get("layer_types"), raw["num_hidden_layers"]
    if kinds is not None and len(kinds) != layers:
        raise BoostError(f"{where}: layer_types has {len(kinds)} layers, the model has {layers}")


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
    raw = _huggingface_config(model)
    if not model.config.post_norms or _model_config(raw, str(path)) != model.config:
        raise BoostError(
            f"transformers has no architecture for this model: {_GEMMA2} has post_norms and one "
            f"rope_base, {_GEMMA3} has qk_norm besides"
        )
    arrays: dict[str, Any] = dict(flatten_dict(model.params, sep="/"))
    weights = {}
    arrays[EMBEDDING] = np.concatenate([np.asarray(arrays[EMBEDDING]), model.dropped_embedding])
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


def _huggingface_config(model: PretrainedModel) -> dict[str, Any]:
    config, tokenizer = model.config, model.tokenizer
    architecture = _GEMMA3 if config.qk_norm else _GEMMA2
    raw = {
        "architectures": [architecture],
        "model_type": _MODEL_TYPE[architecture],
        "vocab_size": tokenizer.vocab_size + len(model.dropped_embedding),
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
