"""A converted model: the folder that `boostlm convert` makes and that a run starts from.

model.json             the decoder's config, its vocabulary's size and the tokens that end responses
tokenizer.model        SentencePiece, always complete
params/                Orbax checkpoint, float32; params.manifest.json has its checksums
kept_tokens.npy        of a trimmed vocabulary: SentencePiece ids of the kept tokens, ascending
dropped_embedding.npy  rows of the embedding table that the model does without, in order of id: the
                       other tokens of a trimmed vocabulary, and what only pads the table
"""

import dataclasses
import io
import json
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from etils import epath

from boostlm.config import Config, ModelConfig
from boostlm.config_checks import validate
from boostlm.config_io import from_dict
from boostlm.engine.tokenizer import Tokenizer
from boostlm.errors import BoostError
from boostlm.lm.decoder import decoder_lm
from boostlm.lm.language_model import Params
from boostlm.pretrained.weights import EMBEDDING, Tensors, Weight, read_params, weights_of
from boostlm.storage import checkpoint
from boostlm.storage.durable_files import new_folder

_KEPT, _DROPPED = "kept_tokens.npy", "dropped_embedding.npy"


class PretrainedModel(NamedTuple):
    """A model with its tokenizer.

    Attributes:
      config: the decoder's config.
      tokenizer: its tokenizer, with as many tokens as the embedding table has rows.
      params: the decoder's parameters, float32.
      dropped_embedding: float32 [dropped, E], the rows of the embedding table that are no tokens
        here: first the tokens that the tokenizer dropped, then padding, in order of id.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    params: Params
    dropped_embedding: np.ndarray


def save_converted(path: epath.Path, model: PretrainedModel) -> None:
    """Writes a folder, whole or not at all. An existing path is a BoostError."""
    tokenizer = model.tokenizer
    description = {
        "vocab_size": tokenizer.vocab_size,
        "stop_tokens": list(tokenizer.spm_stop_ids),
        "model": dataclasses.asdict(model.config),
    }
    with new_folder(path) as folder:
        checkpoint.save(folder / "params", model.params)
        (folder / "tokenizer.model").write_bytes(tokenizer.model)
        if tokenizer.vocab_size < tokenizer.full_size:
            _write_array(folder / _KEPT, tokenizer.kept)
        if len(model.dropped_embedding):
            _write_array(folder / _DROPPED, model.dropped_embedding)
        (folder / "model.json").write_text(json.dumps(description, indent=2) + "\n")


def is_converted(path: epath.Path) -> bool:
    """Whether a folder holds a converted model."""
    return (path / "model.json").exists()


def open_converted(path: epath.Path) -> tuple[ModelConfig, Tokenizer]:
    """A converted model's config and tokenizer.

    Raises:
      BoostError: `boostlm convert` did not make the folder, or a part of it is damaged.
    """
    file = path / "model.json"
    if not file.exists():
        raise BoostError(
            f"{path} is not a converted model, as it has no model.json: boostlm convert makes one"
        )
    try:
        description = json.loads(file.read_text())
        vocab_size, spm_stop_ids = description["vocab_size"], description["stop_tokens"]
        config = from_dict(ModelConfig, description["model"], str(file))
        validate(Config(model=config))
        kept = _read_array(path / _KEPT) if (path / _KEPT).exists() else None
        tokenizer = Tokenizer((path / "tokenizer.model").read_bytes(), spm_stop_ids, kept)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BoostError(f"{path} is damaged, convert the model again: {error!r}") from error
    if tokenizer.vocab_size != vocab_size:
        raise BoostError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} tokens and the model {vocab_size}"
        )
    return config, tokenizer


def load_converted_params(path: epath.Path, shapes: Callable = jax.eval_shape) -> Params:
    """A converted model's parameters; `shapes` stands in for `jax.eval_shape`, with shardings."""
    config, tokenizer = open_converted(path)
    if not checkpoint.is_good(path / "params"):
        raise BoostError(f"{path / 'params'} is torn or missing: convert the model again")
    init = decoder_lm(config, tokenizer.vocab_size).init
    return checkpoint.restore(path / "params", shapes(init, jax.random.key(0)))


def load_dropped(path: epath.Path) -> np.ndarray:
    """The `dropped_embedding` of a converted model, [0, E] if there is none."""
    config, tokenizer = open_converted(path)
    dropped = tokenizer.full_size - tokenizer.vocab_size
    there = (path / _DROPPED).exists()
    rows = _read_array(path / _DROPPED) if there else np.zeros((0, config.width), np.float32)
    if rows.ndim != 2 or rows.shape[1] != config.width or len(rows) < dropped:
        raise BoostError(
            f"{path / _DROPPED} has shape {rows.shape}, not {(dropped, config.width)} or more rows"
            ": convert the model again"
        )
    return rows


def load_converted(path: epath.Path) -> PretrainedModel:
    """All of a converted model."""
    return PretrainedModel(*open_converted(path), load_converted_params(path), load_dropped(path))


def read_model(
    tensors: Tensors, name_of: Callable[[Weight], str], config: ModelConfig, tokenizer: Tokenizer
) -> PretrainedModel:
    """A model from a file's tensors.

    Rows that only pad the embedding table, to a multiple of a power of two, are set aside. So they
    are never sampled and have no part in the loss; an export puts them back.

    Args:
      tensors: the file's tensors.
      name_of: a parameter's name in the file.
      config: the decoder's config.
      tokenizer: the tokenizer, with all its tokens.

    Raises:
      BoostError: a tensor is missing, misshapen or left over; or the table has fewer rows than
        there are tokens, or more than padding explains.
    """
    tokens = tokenizer.vocab_size
    [name] = [name_of(w) for w in weights_of(config, tokens) if w.path == EMBEDDING]
    rows = tensors.shapes.get(name, (tokens,))[0]
    if rows < tokens or (rows > tokens + 64 and rows not in _padded(tokens)):
        raise BoostError(
            f"{tensors.where}: the embedding table has {rows} rows, and the tokenizer has {tokens} "
            "tokens: it is another model's"
        )
    params = read_params(tensors, name_of, config, rows)
    table = params["params"]["embedding"]["embedding"]
    return PretrainedModel(
        config, tokenizer, _with_embedding(params, table[:tokens]), table[tokens:]
    )


def _padded(tokens: int) -> list[int]:
    return [-(-tokens // size) * size for size in (128, 256, 512, 1024)]


def trim(model: PretrainedModel, kept: np.ndarray) -> PretrainedModel:
    """The model with the embeddings of `kept` (ascending SentencePiece ids) only.

    The logits of kept tokens stay what they were, and so does greedy output for as long as the
    likeliest token is a kept one. Probabilities are over the kept tokens alone: at each position,
    the loss is lower than before by the same amount whatever the target.
    """
    table = np.asarray(model.params["params"]["embedding"]["embedding"])
    is_kept = np.zeros(len(table), bool)
    is_kept[kept] = True
    tokenizer = Tokenizer(
        model.tokenizer.model, model.tokenizer.spm_stop_ids, np.flatnonzero(is_kept)
    )
    params = _with_embedding(model.params, table[is_kept])
    dropped = np.concatenate([table[~is_kept], model.dropped_embedding])
    return PretrainedModel(model.config, tokenizer, params, dropped)


def untrim(model: PretrainedModel) -> PretrainedModel:
    """The model with every token again; dropped tokens get their old embeddings back."""
    tokenizer = model.tokenizer
    table = np.empty((tokenizer.full_size, model.config.width), np.float32)
    table[tokenizer.kept] = np.asarray(model.params["params"]["embedding"]["embedding"])
    dropped = tokenizer.full_size - tokenizer.vocab_size
    others = np.setdiff1d(np.arange(len(table)), tokenizer.kept)
    table[others] = model.dropped_embedding[:dropped]
    params = _with_embedding(model.params, table)
    whole = Tokenizer(tokenizer.model, tokenizer.spm_stop_ids)
    return PretrainedModel(model.config, whole, params, model.dropped_embedding[dropped:])


def _with_embedding(params: Params, table: np.ndarray) -> Params:
    inner = {**params["params"], "embedding": {"embedding": table}}
    return {**params, "params": inner}


def _write_array(path: epath.Path, array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array)
    path.write_bytes(buffer.getvalue())


def _read_array(path: epath.Path) -> np.ndarray:
    return np.load(io.BytesIO(path.read_bytes()))
