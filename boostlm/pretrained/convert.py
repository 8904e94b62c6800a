"""`boostlm convert`: from other formats to a folder that a run can start from."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath

from boostlm.engine.tokenizer import Tokenizer
from boostlm.errors import BoostError
from boostlm.pretrained.converted import (
    PretrainedModel,
    is_converted,
    save_converted,
    trim,
)
from boostlm.pretrained.gguf_file import read_gguf
from boostlm.pretrained.huggingface import read_huggingface
from boostlm.storage.durable_files import lines_of
from boostlm.user_code import open_path


def import_model(
    source: str, dest: str, keep_tokens_of: Sequence[str], texts: Iterable[str] = ()
) -> PretrainedModel:
    """Converts a Hugging Face directory or a GGUF file to a folder that a run can start from.

    Args:
      source: a directory or a file.
      dest: the folder to make.
      keep_tokens_of: files of texts.
      texts: more texts. If files or texts are given, the vocabulary is trimmed to their tokens, the
        bytes and the special tokens.

    Returns:
      What was written.
    """
    path, folder = open_path(source), open_path(dest)
    if not path.exists():
        raise BoostError(f"{source} does not exist")
    if folder.exists():
        raise BoostError(f"{dest} exists: name a new folder, or remove it first")
    if path.is_dir() and is_converted(path):
        raise BoostError(f"{source} is already converted: --to huggingface converts it back")
    model = read_huggingface(path) if path.is_dir() else read_gguf(path)
    files = [open_path(name, "--keep-tokens-of") for name in keep_tokens_of]
    kept = [*texts, *(text for file in files for text in texts_in(file))]
    if kept or files:
        model = trim(model, kept_tokens(model.tokenizer, kept))
    save_converted(folder, model)
    return model


def kept_tokens(tokenizer: Tokenizer, texts: Iterable[str]) -> np.ndarray:
    """SentencePiece ids of the tokens of texts, of all bytes and of special tokens, ascending."""
    used = set(tokenizer.byte_and_special_ids())
    for text in texts:
        used.update(tokenizer.encode(text))
    return np.array(sorted(used))


def texts_in(file: epath.Path) -> Iterator[str]:
    """The texts of a file whose tokens are to be kept.

    From a .jsonl file, every string of every row, both as it is and after a space, since a prompt
    may have it in either place. Any other file is one text.
    """
    if not file.exists():
        raise BoostError(f"{file} does not exist")
    try:
        data = file.read_bytes()
        if not os.fspath(file).endswith(".jsonl"):
            yield data.decode("utf-8-sig")
            return
    except (OSError, UnicodeDecodeError) as error:
        raise BoostError(f"{file} cannot be read: {error}") from error
    for number, line in enumerate(lines_of(data), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode())
        except (ValueError, RecursionError) as error:  # not JSON, or not UTF-8
            raise BoostError(f"{file}, line {number} is not JSON: {error}") from error
        for text in _strings(row):
            yield text
            yield f" {text}"


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)
