"""A control token that a file calls normal text is an error; it is never cut into pieces."""

import pytest
from etils import epath
from support.tiny_gemma import (
    CONTROLS,
    PIECES,
    SPECIALS,
    TYPES,
    spm_model,
    tiny_model,
    write_directory,
    write_gguf,
)

from boostlm.cli.main import main
from boostlm.engine.tokenizer import Tokenizer
from boostlm.errors import BoostError
from boostlm.pretrained.control_tokens import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    checked_model,
    checked_types,
)
from boostlm.pretrained.gguf_file import read_gguf
from boostlm.pretrained.huggingface import read_huggingface

pytest.importorskip("gguf", reason="GGUF needs the extra `convert`")
pytest.importorskip("safetensors", reason="conversion needs the extra `convert`")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def from_gguf(folder, model, types):
    return read_gguf(write_gguf(folder / "m.gguf", model, types)).tokenizer


def from_huggingface(folder, model, types):
    return read_huggingface(write_directory(folder / "hf", model, spm_model(types))).tokenizer


def from_sentencepiece(folder, model, types):
    return Tokenizer(checked_model(spm_model(types), [], "tokenizer.model"))


SOURCES = {"GGUF": from_gguf, "Hugging Face": from_huggingface, "SentencePiece": from_sentencepiece}


@pytest.mark.parametrize("piece", [*SPECIALS, *CONTROLS])
@pytest.mark.parametrize("source", SOURCES)
def test_a_control_token_that_is_called_normal_is_an_error(source, piece, model, tmp_path):
    with pytest.raises(BoostError) as error:
        SOURCES[source](tmp_path, model, TYPES | {piece: NORMAL})
    assert f"{piece} ({PIECES.index(piece)}) has type 1, not 3 (control)" in str(error.value)
    assert "Convert the original model's directory" in str(error.value)


@pytest.mark.parametrize("kind", [CONTROL, USER_DEFINED])
@pytest.mark.parametrize("source", SOURCES)
def test_control_tokens_are_matched_whole_in_text(source, kind, model, tmp_path):
    found = SOURCES[source](tmp_path, model, TYPES | dict.fromkeys(CONTROLS, kind))
    for piece in CONTROLS:
        ids = found.encode(f"a{piece}b")
        assert ids == [PIECES.index(x) for x in ("a", piece, "b")]
        assert found.decode(ids) == f"a{piece}b"
    assert found.encode_prompt("<b>")[1:] == [PIECES.index("<b>")]
    for piece in SPECIALS[:3]:  # as text they are just text, which cannot end a response
        assert PIECES.index(piece) not in found.encode(piece)


def test_a_model_with_right_types_keeps_its_bytes():
    assert checked_model(spm_model(), [], "x") == spm_model()
    as_control = spm_model(TYPES | {"<start_of_turn>": CONTROL})
    assert checked_model(as_control, [], "x") == spm_model()
    with pytest.raises(BoostError, match="x is not a SentencePiece model"):
        checked_model(b"nonsense", [], "x")


def kinds(changes):
    types = TYPES | changes
    return checked_types(PIECES, [types[p] for p in PIECES], [0, 1, 2], 3, [9], "file")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"<pad>": USER_DEFINED}, "<pad> (0) has type 4"),
        ({"<eos>": UNUSED}, "<eos> (1) has type 5"),
        ({"<bos>": BYTE}, "<bos> (2) has type 6"),
        ({"<unk>": USER_DEFINED}, "<unk> (3) has type 4"),
        ({"<mask>": UNUSED}, "<mask> (4) has type 5"),
        ({"<end_of_turn>": BYTE}, "<end_of_turn> (9) has type 6"),
        ({"<start_of_turn>": UNKNOWN}, "<start_of_turn> (8) has type 2"),
        ({"<start_of_turn>": 0}, "<start_of_turn> (8) has type 0"),
        (dict.fromkeys(CONTROLS, NORMAL), "and 1 more"),
    ],
)
def test_other_wrong_types(changes, named):
    with pytest.raises(BoostError) as error:
        kinds(changes)
    assert named in str(error.value)


@pytest.mark.parametrize(
    ("changes", "piece", "kind"),
    [
        ({"<unk>": CONTROL}, "<unk>", UNKNOWN),
        ({"<unused0>": UNUSED}, "<unused0>", UNUSED),
        ({"<table>": NORMAL}, "<table>", NORMAL),
        ({"<table>": CONTROL}, "<table>", USER_DEFINED),
        ({"a": NORMAL}, "a", NORMAL),
        ({}, "<0x0A>", BYTE),
        ({}, "\n", USER_DEFINED),
        ({}, "<eos>", CONTROL),
    ],
)
def test_other_types_stay_as_the_file_says(changes, piece, kind):
    assert kinds(changes)[PIECES.index(piece)] == kind


@pytest.mark.parametrize("name", ["eos_token_id", "eot_token_id"])
def test_a_token_that_ends_responses_must_be_one(name, model, tmp_path):
    end = PIECES.index("<end_of_turn>")
    found = read_gguf(write_gguf(tmp_path / "good.gguf", model, **{name: end})).tokenizer
    assert found.stop_token_ids == (1, end)
    bad = write_gguf(tmp_path / "bad.gguf", model, **{name: PIECES.index("a")})
    with pytest.raises(BoostError, match=r"a \([0-9]+\) has type 1"):
        read_gguf(bad)
    far = write_gguf(tmp_path / "far.gguf", model, **{name: len(PIECES)})
    with pytest.raises(BoostError, match="are not among its"):
        read_gguf(far)


def test_convert_leaves_nothing_behind(model, tmp_path, capsys):
    file = write_gguf(tmp_path / "m.gguf", model, TYPES | {"<start_of_turn>": NORMAL})
    assert main(["convert", str(file), str(tmp_path / "out")]) == 2
    assert "<start_of_turn> (8) has type 1" in capsys.readouterr().err
    assert not epath.Path(tmp_path / "out").exists()
