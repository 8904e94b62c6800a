"""Rows of the embedding table that belong to no token: set aside, and put back by an export."""

import json

import jax
import numpy as np
import pytest
from etils import epath
from support.tiny_gemma import PIECES, tiny_gemma, write_directory, write_gguf

from boostlm.cli.main import main
from boostlm.errors import BoostError
from boostlm.pretrained.converted import _padded, load_converted, save_converted, trim, untrim
from boostlm.pretrained.gguf_file import read_gguf
from boostlm.pretrained.huggingface import read_huggingface

pytest.importorskip("gguf", reason="GGUF needs the extra `convert`")
pytest.importorskip("safetensors", reason="conversion needs the extra `convert`")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

V = len(PIECES)
TO = {size: -(-V // size) * size - V for size in (8, 64, 128, 256, 512, 1024)}


def same(a, b):
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def agrees(found, model):
    assert found.tokenizer.vocab_size == V
    assert same(found.params, model.params)
    assert np.array_equal(found.dropped_embedding, model.dropped_embedding)


@pytest.mark.parametrize(
    "padding",
    [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in sorted({2, 63, 64, *TO.values()}))],
)
def test_padding_is_set_aside_and_put_back(padding, tmp_path):
    model = tiny_gemma(padding=padding)
    directory = write_directory(tmp_path / "hf", model)
    agrees(read_huggingface(directory), model)
    agrees(read_gguf(write_gguf(tmp_path / "m.gguf", model)), model)
    as_tokens = write_gguf(tmp_path / "tokens.gguf", model, padding_tokens=padding)
    agrees(read_gguf(as_tokens), model)
    save_converted(epath.Path(tmp_path / "folder"), read_huggingface(directory))
    agrees(load_converted(epath.Path(tmp_path / "folder")), model)
    assert json.loads((directory / "config.json").read_text())["vocab_size"] == V + padding


@pytest.mark.slow
@pytest.mark.parametrize("padding", [-1, -100, 65, 100, TO[512] - 1, TO[1024] + 1, 1024])
def test_fewer_rows_than_tokens_and_more_than_padding_are_errors(padding, tmp_path):
    model = tiny_gemma(padding=max(padding, 0))
    if padding < 0:
        inner = model.params["params"]
        table = inner["embedding"]["embedding"][:padding]
        short = {"params": {**inner, "embedding": {"embedding": table}}}
        model = model._replace(params=short)
    with pytest.raises(
        BoostError, match=f"table has {V + padding} rows, and the tokenizer has {V}"
    ):
        read_gguf(write_gguf(tmp_path / "m.gguf", model))


@pytest.mark.parametrize(
    ("padding", "size", "good"),
    [
        (1, V + 1, True), (1, V, True), (1, V + 2, False), (20, V + 1, False), (0, V + 1, False),
        (0, V - 1, False), (64, V + 64, True),
    ],
)  # fmt: skip
def test_the_config_names_one_of_the_two_numbers(padding, size, good, tmp_path):
    directory = write_directory(tmp_path / "hf", tiny_gemma(padding=padding))
    raw = json.loads((directory / "config.json").read_text()) | {"vocab_size": size}
    (directory / "config.json").write_text(json.dumps(raw))
    if good:
        assert len(read_huggingface(directory).dropped_embedding) == padding
        return
    with pytest.raises(
        BoostError, match=rf"has {V} tokens.* {V + padding} rows.*vocab_size is {size}"
    ):
        read_huggingface(directory)


@pytest.mark.parametrize("padding", [0, 1, 20])
def test_trimming_and_back(padding, tmp_path):
    model = tiny_gemma(padding=padding)
    kept = np.array([*range(20), 300, 310])
    small = trim(model, kept)
    assert len(small.dropped_embedding) == V - len(kept) + padding
    save_converted(epath.Path(tmp_path / "small"), small)
    agrees(untrim(load_converted(epath.Path(tmp_path / "small"))), model)
    (tmp_path / "small" / "dropped_embedding.npy").unlink()
    with pytest.raises(BoostError, match="has shape"):
        load_converted(epath.Path(tmp_path / "small"))


@pytest.mark.slow
@pytest.mark.parametrize("padding", [1, TO[64]])
def test_transformers_loads_an_export_of_a_padded_model(padding, tmp_path, capsys):
    transformers = pytest.importorskip("transformers", reason="parity needs the extra `parity`")
    write_directory(tmp_path / "hf", tiny_gemma(padding=padding))
    assert main(["convert", str(tmp_path / "hf"), str(tmp_path / "folder")]) == 0
    out = capsys.readouterr().out
    assert f"{padding} rows of the embedding table belong to no token" in out
    assert f"{V} of {V} tokens" in out
    args = [str(tmp_path / "folder"), str(tmp_path / "out"), "--to", "huggingface"]
    assert main(["convert", *args]) == 0
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(report.values()), report
    first = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    for name, value in first.state_dict().items():
        assert np.array_equal(value.numpy(), theirs.state_dict()[name].numpy()), name
    assert theirs.get_input_embeddings().weight.shape[0] == V + padding


def test_what_padding_explains():
    assert _padded(256_000) == [256_000] * 4
    assert 262_144 not in _padded(256_000)  # Gemma 3's table is no padded one of Gemma 2
    assert _padded(32_001) == [32_128, 32_256, 32_256, 32_768]
