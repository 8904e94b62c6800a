"""Gemma's vocabulary out of a GGUF file, against transformers, on GSM8K and MBPP texts.

With BOOSTLM_FULL_PARITY=1, on every one of them.
"""

import json
import os
import re

import pytest
from etils import epath
from support import gemma_reference as ref
from support.data_sets import data_set

from boostlm.engine.tokenizer import Tokenizer
from boostlm.pretrained.convert import kept_tokens, texts_in
from boostlm.pretrained.gguf_file import read_tokenizer
from boostlm.pretrained.huggingface import TOKENIZER_CONFIG

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    return read_tokenizer(epath.Path(ref.real_gguf(tmp_path_factory.mktemp("gguf"))))


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """GSM8K and MBPP texts, questions and solutions, tests and programs."""
    folder = data_set("gsm8k").parent
    found = [row[k] for split in ("train", "test") for row in ref.gsm8k(split) for k in row]
    for line in (folder / "mbpp" / "mbpp.jsonl").read_text().splitlines():
        row = json.loads(line)
        found += [row["text"], row["code"], *row["test_list"], *row["challenge_test_list"]]
    for row in json.loads((folder / "mbpp" / "sanitized-mbpp.json").read_text()):
        found += [row["prompt"], row["code"], *row["test_list"]]
    assert len(found) > 20_000
    return found if os.environ.get("BOOSTLM_FULL_PARITY") else found[::4]


ODD = [
    "",
    " ",
    "a  b   c\n\n\n\td",
    "é 𝔘 \u200b 中文 🎉",
    "<b>x</b>",
    "1234567",
    "\r\n",
    "<end_of_turn>",
]


def test_special_tokens(tokenizer):
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.stop_token_ids) == (2, 1, (1,))
    assert tokenizer.vocab_size == 262_144
    assert tokenizer.encode_prompt("a")[0] == 2
    assert tokenizer.encode_prompt("a").count(2) == 1
    assert tokenizer.encode_response("a")[-1] == 1
    assert tokenizer.encode("<start_of_turn>a<end_of_turn>") == [105, tokenizer.encode("a")[0], 106]


def test_stop_tokens_of_an_instruction_tuned_model(tokenizer):
    chat = Tokenizer(tokenizer.model, [106])
    assert chat.stop_token_ids == (1, 106)
    assert chat.decode([*chat.encode("hello"), 106]) == "hello"


def test_round_trip(tokenizer, texts):
    for text in [*texts, *ODD]:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def as_transformers_cuts(text: str) -> list[str]:
    """`text` cut within runs of more than 31 spaces, the longest that Gemma has a token for.

    There, and only there, transformers departs from SentencePiece, which is Gemma's own tokenizer
    and takes 31 spaces at once: transformers merges pairs, so that 16 come first.
    """
    return re.sub(" {16}(?= {16})", lambda run: run[0] + "\0", text).split("\0")


def test_tokens_are_those_of_transformers(tokenizer, texts, tmp_path):
    transformers = pytest.importorskip("transformers", reason="parity needs the extra `parity`")
    (tmp_path / "tokenizer.model").write_bytes(tokenizer.model)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG))
    theirs = transformers.GemmaTokenizer.from_pretrained(tmp_path)
    texts = [*texts, *ODD, *(f"a{' ' * n}b" for n in range(1, 130))]
    for text, want in zip(texts, theirs(texts).input_ids, strict=True):
        parts = as_transformers_cuts(text)
        assert [2, *(i for part in parts for i in tokenizer.encode(part))] == want, repr(text)


def test_trimmed_to_gsm8k_it_tokenizes_gsm8k_alike(tokenizer, tmp_path):
    file = epath.Path(data_set("gsm8k") / "train.jsonl")
    kept = kept_tokens(tokenizer, texts_in(file))
    assert 10_000 < len(kept) < 30_000
    small = Tokenizer(tokenizer.model, tokenizer.spm_stop_ids, kept)
    for row in ref.gsm8k("train")[::10]:
        assert kept[small.encode(row["question"])].tolist() == tokenizer.encode(row["question"])
        assert small.decode(small.encode(row["answer"])) == row["answer"]
