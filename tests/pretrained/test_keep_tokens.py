"""Which tokens `boostlm convert` keeps: those of every line of the files, and those of the task."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from etils import epath
from support import gemma_reference as ref
from support.gsm8k import FIXTURES, task

from boostlm.cli.main import main
from boostlm.config import DataConfig, TokenizerConfig
from boostlm.engine.tokenizer import train_tokenizer
from boostlm.errors import BoostError
from boostlm.lm.decoder import decoder_lm
from boostlm.pretrained.convert import texts_in
from boostlm.pretrained.converted import PretrainedModel, open_converted
from boostlm.pretrained.huggingface import write_huggingface
from boostlm.storage.durable_files import complete_lines, lines_of
from boostlm.tasks.base import texts_of_task
from boostlm.tasks.skills import SkillsTask
from boostlm.tasks.tfds_data import json_lines

NO_LINE_ENDS = ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\r", "\t"]
# JSON holds those below a space only escaped.
WRITTEN = [(c, True) for c in NO_LINE_ENDS] + [(c, False) for c in NO_LINE_ENDS if c > " "]


@pytest.mark.parametrize(("inside", "escaped"), WRITTEN, ids=ascii)
def test_characters_that_end_no_line(inside, escaped, tmp_path):
    """In a file to keep the tokens of, in a data set and in an own file such as the ledger."""
    rows = [{"text": f"a{inside}b"}, {"text": "c"}]
    data = "".join(json.dumps(row, ensure_ascii=escaped) + "\n" for row in rows).encode()
    file = epath.Path(tmp_path / "x.jsonl")
    file.write_bytes(data)
    assert list(texts_in(file)) == [f"a{inside}b", f" a{inside}b", "c", " c"]
    assert [row for _, row in json_lines(data, file)] == rows
    assert [json.loads(line) for line in complete_lines(file)] == rows


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"1", [b"1"]),
        (b"1\n", [b"1"]),
        (b"1\n\n", [b"1", b""]),
        (b"1\r\n2\r\n", [b"1\r", b"2\r"]),
        (b"\xef\xbb\xbf1\n2", [b"1", b"2"]),
        (b"1\n\xef\xbb\xbf2", [b"1", b"\xef\xbb\xbf2"]),
        (b"1\r2\n", [b"1\r2"]),
        (b'"\xe2\x80\xa8"\n', [b'"\xe2\x80\xa8"']),
    ],
)
def test_lines(data, lines):
    assert lines_of(data) == lines


@pytest.mark.parametrize(
    "data",
    [
        b'["a", {"x": "b"}]\n{"y": "c"}\n',
        b'["a", {"x": "b"}]\n{"y": "c"}',
        b'["a", {"x": "b"}]\r\n{"y": "c"}\r\n',
        b'\xef\xbb\xbf["a", {"x": "b"}]\n{"y": "c"}\n',
        b'\n["a", {"x": "b"}]\n\n \r\n{"y": "c"}\n\n',
        b'["a", 1, null, {"x": "b"}]\n{"y": "c", "z": 2.5}\n',
    ],
)
def test_the_strings_of_a_file(data, tmp_path):
    file = epath.Path(tmp_path / "x.jsonl")
    file.write_bytes(data)
    assert list(texts_in(file)) == ["a", " a", "b", " b", "c", " c"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'"a"\n{"b": \n', "line 2 is not JSON"),
        (b'"a"\n\n{"b": \n', "line 3 is not JSON"),
        (b'\xef\xbb\xbf"a"\n"b\n', "line 2 is not JSON"),
        (b'"a"\r"b"\n', "line 1 is not JSON"),
        (b'"a\nb"\n', "line 1 is not JSON"),
        (b'"a"\n"\xff"\n', "line 2 is not JSON.*utf-8"),
        (b'"a"\n' + b"[" * 100_000, "line 2 is not JSON"),
    ],
)
def test_a_bad_line_is_named_by_its_number(data, why, tmp_path):
    file = epath.Path(tmp_path / "x.jsonl")
    file.write_bytes(data)
    with pytest.raises(BoostError, match=why):
        list(texts_in(file))


def test_a_text_file_is_one_text_as_it_is(tmp_path):
    file = epath.Path(tmp_path / "x.txt")
    file.write_bytes("\ufeffé\r\n\u2028x\n".encode())
    assert list(texts_in(file)) == ["é\r\n\u2028x\n"]
    file.write_bytes(b"\xff")
    with pytest.raises(BoostError, match=r"x\.txt cannot be read"):
        list(texts_in(file))


def source_of(folder, texts):
    """A Hugging Face directory of a tiny Gemma 3 that can write the texts."""
    tokenizer = train_tokenizer(TokenizerConfig("bpe", 1200), texts)
    config = dataclasses.replace(ref.TINY["gemma3"], layers=1)
    init = decoder_lm(config, tokenizer.vocab_size).init
    params = jax.tree.map(np.asarray, jax.jit(init)(jax.random.key(0)))
    empty = np.zeros((0, config.width), np.float32)
    pytest.importorskip("safetensors", reason="conversion needs the extra `convert`")
    write_huggingface(epath.Path(folder), PretrainedModel(config, tokenizer, params, empty))
    return str(folder)


def unwritable(path, texts):
    tokenizer, lacking = open_converted(epath.Path(path))[1], []
    for text in texts:
        try:
            assert tokenizer.decode(tokenizer.encode(text)) == text
        except BoostError as error:
            lacking.append(str(error))
    return lacking


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_tokens_of_the_task_are_kept_as_well(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    loaded = task()
    texts = texts_of_task(loaded)
    prompts = [text for split in loaded.prompts.values() for text in split.texts]
    assert set(prompts) <= set(texts)
    train = str(FIXTURES / "train.jsonl")
    rows = [text for s in ("train", "test") for text in texts_in(FIXTURES / f"{s}.jsonl")]
    others = [f"zq{i} vw{i} kx{i}" for i in range(50)]
    source = source_of(tmp_path / "hf", [*texts, *rows, *others * 20])
    data = ["--data.task", "gsm8k", "--data.path", str(FIXTURES), "--data.train_prompts=10"]
    data += ["--data.eval_prompts", "3"]
    config = tmp_path / "config.py"
    config.write_text(
        "from boostlm.config import Config, DataConfig\n\n\n"
        "def get_config():\n    return Config(data=DataConfig(task='gsm8k', train_prompts=10, "
        "eval_prompts=3))\n"
    )
    files = ["--keep-tokens-of", train]
    assert main(["convert", source, str(tmp_path / "rows"), *files]) == 0
    lacking = unwritable(tmp_path / "rows", prompts)
    assert any("Question" in text and "--data.task" in text for text in lacking)
    path = ["--data.path", str(FIXTURES)]
    for name, words in {
        "both": [*files, *data],
        "task": data,
        "config": ["--keep-tokens-of", str(config), *path],
    }.items():
        assert main(["convert", source, str(tmp_path / name), *words]) == 0
        assert unwritable(tmp_path / name, texts) == []
        said = unwritable(tmp_path / name, others)
        assert len(said) == len(others)  # it is trimmed all the same
    capsys.readouterr()
    for words, why in (
        (["--model.layers=2"], "unknown argument '--model.layers=2': convert takes --data.*"),
        (["--data.tusk=gsm8k"], "--data.tusk is not an option"),
        (["--to", "huggingface", *data], "for conversion to boostlm only"),
    ):
        assert main(["convert", source, str(tmp_path / "no"), *words]) == 2
        assert why in capsys.readouterr().err


def test_the_texts_of_a_task():
    config = DataConfig(train_prompts=20, eval_prompts=10)
    embedded = SkillsTask(config)
    texts = texts_of_task(embedded)
    for split in embedded.prompts.values():
        assert set(split.texts) <= set(texts)
    assert set(embedded.tokenizer_texts()) <= set(texts)
    assert len(set(texts)) == len(texts)
