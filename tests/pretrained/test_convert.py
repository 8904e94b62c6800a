"""boostlm convert: there and back, what it refuses, trimming, and a run from a converted model."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import sentencepiece as spm
from etils import epath
from support import gemma_reference as ref
from support.runs import full_logits

from boostlm.cli.main import main
from boostlm.config import Config, ModelConfig, TokenizerConfig
from boostlm.config_io import override
from boostlm.engine.tokenizer import Tokenizer, train_tokenizer
from boostlm.errors import BoostError
from boostlm.experiment.context import make_context
from boostlm.experiment.export import export_model
from boostlm.lm.decoder import decoder_lm
from boostlm.lm.generate import SamplingParams, generate
from boostlm.pretrained import huggingface
from boostlm.pretrained.convert import import_model
from boostlm.pretrained.converted import (
    PretrainedModel,
    load_converted,
    load_converted_params,
    open_converted,
    save_converted,
    trim,
    untrim,
)
from boostlm.pretrained.huggingface import read_huggingface, write_huggingface
from boostlm.prng import row_keys
from boostlm.storage.run_dir import RunDir
from boostlm.tasks.skills import SkillsTask

pytest.importorskip("safetensors", reason="conversion needs the extra `convert`")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

TEXTS = ["abcab cab", "the cab is back", "a bad cat sat"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TokenizerConfig("char", 32), TEXTS)


def random_model(family: str, tokenizer: Tokenizer, **changes) -> PretrainedModel:
    config = dataclasses.replace(ref.TINY[family], **changes)
    init = decoder_lm(config, tokenizer.vocab_size).init
    params = jax.tree.map(np.asarray, jax.jit(init)(jax.random.key(0)))
    return PretrainedModel(config, tokenizer, params, np.zeros((0, config.width), np.float32))


@pytest.fixture(scope="module")
def source(tokenizer, tmp_path_factory) -> epath.Path:
    """A Hugging Face directory of a tiny Gemma 3; tests change copies of it."""
    folder = epath.Path(tmp_path_factory.mktemp("source") / "hf")
    write_huggingface(folder, random_model("gemma3", tokenizer))
    return folder


@pytest.fixture
def copy(source, tmp_path) -> epath.Path:
    folder = epath.Path(tmp_path / "copy")
    folder.mkdir()
    for file in source.iterdir():
        file.copy(folder / file.name)
    return folder


def same(a, b) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: np.array_equal(x, y), a, b))


@pytest.mark.parametrize("family", ["gemma2", "gemma3"])
@pytest.mark.parametrize("shard_bytes", [1 << 30, 20_000])
def test_there_and_back(family, shard_bytes, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface, "_SHARD_BYTES", shard_bytes)
    model = random_model(family, tokenizer)
    hf, folder, again = (str(tmp_path / name) for name in ("hf", "folder", "again"))
    write_huggingface(epath.Path(hf), model)
    assert main(["convert", hf, folder]) == 0
    assert main(["convert", folder, again, "--to", "huggingface"]) == 0
    for found in (load_converted(epath.Path(folder)), read_huggingface(epath.Path(again))):
        assert found.config == model.config
        assert found.tokenizer.model == tokenizer.model
        assert same(found.params, model.params)
    files = sorted(p.name for p in (tmp_path / "again").iterdir())
    assert ("model.safetensors.index.json" in files) == (shard_bytes == 20_000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "folder", "hf"]


@pytest.mark.parametrize("family", ["gemma2", "gemma3"])
def test_transformers_loads_an_export_with_the_same_logits(family, tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers", reason="parity needs the extra `parity`")
    model = random_model(family, tokenizer)
    write_huggingface(epath.Path(tmp_path / "hf"), model)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "hf", attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values()), report
    tokens = np.random.default_rng(0).integers(0, tokenizer.vocab_size, (2, 60))
    got = full_logits(decoder_lm(model.config, tokenizer.vocab_size))(model.params, tokens)
    assert np.abs(got - ref.transformers_logits(theirs.eval(), tokens)).max() < 1e-4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_directory_that_transformers_saved(dtype, tokenizer, tmp_path):
    torch = pytest.importorskip("torch", reason="parity needs the extra `parity`")
    for family in ("gemma2", "gemma3"):
        theirs = ref.transformers_model(family)
        theirs.resize_token_embeddings(tokenizer.vocab_size)
        theirs.to(getattr(torch, dtype)).save_pretrained(tmp_path / family)
        (tmp_path / family / "tokenizer.model").write_bytes(tokenizer.model)
        model = read_huggingface(epath.Path(tmp_path / family))
        assert model.config == ref.TINY[family]
        want = ref.params_of(theirs.float(), model.config, tokenizer.vocab_size)
        assert same(model.params, want)


def edit_json(file, **changes):
    raw = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({k: v for k, v in raw.items() if v != "gone"}))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "LlamaForCausalLM"),
        ({"num_hidden_layers": "gone"}, "num_hidden_layers is missing"),
        ({"hidden_activation": "silu"}, "hidden_activation is 'silu'"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 8.0}}, "rotary scaling 'linear'"),
        ({"layer_types": ["full_attention", "sliding_attention"] * 3}, "no regular pattern"),
        ({"vocab_size": 999}, "vocab_size is 999"),
        ({"hidden_size": 32}, "model.embed_tokens.weight has shape"),
        ({"num_hidden_layers": 7}, "model.layers.6.mlp.up_proj.weight is missing"),
        ({"num_hidden_layers": 5}, "model.layers.5.mlp.up_proj.weight is not of this model"),
        ({"eos_token_id": [1, 500]}, "stop and BOS are the tokens (1, 1, 500, 2)"),
    ],
)
def test_a_config_that_does_not_fit_is_named(changes, named, copy, tmp_path):
    edit_json(copy / "config.json", **changes)
    (copy / "generation_config.json").unlink()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(BoostError) as error:
        import_model(str(copy), str(tmp_path / "dest"), [])
    assert named in str(error.value)
    assert sorted(tmp_path.iterdir()) == before  # nothing half-written


def test_damaged_and_missing_files_are_named(copy, tmp_path):
    dest = str(tmp_path / "dest")
    for name, data in (
        ("model.safetensors", (copy / "model.safetensors").read_bytes()[:1000]),
        ("tokenizer.model", b"nonsense"),
        ("config.json", b"{"),
    ):
        good = (copy / name).read_bytes()
        (copy / name).write_bytes(data)
        with pytest.raises(BoostError, match=r"cannot be read|not a SentencePiece|not JSON"):
            import_model(str(copy), dest, [])
        (copy / name).unlink()
        with pytest.raises(BoostError, match=name.replace(".", r"\.")):
            import_model(str(copy), dest, [])
        (copy / name).write_bytes(good)
    (tmp_path / "bad.gguf").write_bytes(b"nonsense" * 9)
    pytest.importorskip("gguf", reason="GGUF needs the extra `convert`")
    with pytest.raises(BoostError, match=r"bad\.gguf is not a readable GGUF"):
        import_model(str(tmp_path / "bad.gguf"), dest, [])
    assert not (tmp_path / "dest").exists()


def test_an_interrupted_write_leaves_nothing(source, tmp_path, monkeypatch):
    monkeypatch.setattr(json, "dumps", lambda *a, **k: 1 / 0)  # model.json is written last
    with pytest.raises(BoostError, match="division by zero"):
        save_converted(epath.Path(tmp_path / "dest"), read_huggingface(source))
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_left_alone(source, tmp_path, capsys):
    (tmp_path / "mine").write_text("text")
    assert main(["convert", str(source), str(tmp_path)]) == 2
    assert "exists" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "text"


def test_a_model_that_transformers_lacks_is_refused(tokenizer, tmp_path):
    model = random_model("gemma3", tokenizer)
    plain = dataclasses.replace(model.config, qk_norm=False, post_norms=False)
    with pytest.raises(BoostError, match="no architecture"):
        write_huggingface(epath.Path(tmp_path / "hf"), model._replace(config=plain))


def test_trimming_keeps_logits_greedy_output_and_tokens(source, tmp_path):
    (tmp_path / "keep.jsonl").write_text(json.dumps({"x": "abcab", "y": ["cab"]}) + "\n")
    whole = read_huggingface(source)
    args = [str(source), str(tmp_path / "small"), "--keep-tokens-of", str(tmp_path / "keep.jsonl")]
    assert main(["convert", *args]) == 0
    small = load_converted(epath.Path(tmp_path / "small"))
    kept = small.tokenizer.kept
    assert len(kept) < whole.tokenizer.vocab_size
    assert small.params["params"]["embedding"]["embedding"].shape[0] == len(kept)
    for text in ("abcab", " cab", "cabcab ab"):
        assert kept[small.tokenizer.encode(text)].tolist() == whole.tokenizer.encode(text)
        assert small.tokenizer.decode(small.tokenizer.encode(text)) == text
    with pytest.raises(BoostError, match=r"lacks \['d'\]"):
        small.tokenizer.encode("abcd")

    prompt = np.array([small.tokenizer.encode_prompt("abcab cab")], np.int32)
    models = [(small, prompt), (whole, kept[prompt].astype(np.int32))]
    logits, greedy = [], []
    for model, tokens in models:
        lm = decoder_lm(model.config, model.tokenizer.vocab_size)
        params = model.params
        if model is whole:  # so that the likeliest token is a kept one
            table = params["params"]["embedding"]["embedding"].copy()
            table[np.setdiff1d(np.arange(len(table)), kept)] *= 0
            params = {"params": {**params["params"], "embedding": {"embedding": table}}}
        logits.append(np.asarray(full_logits(lm)(model.params, tokens)))
        out = generate(
            lm, params, tokens, np.array([tokens.shape[1]]),
            row_keys(jax.random.key(0), np.arange(1), 1), max_new_tokens=8,
            stop_sequences=((model.tokenizer.eos_id,),), pad_id=0, sampling=SamplingParams(temperature=0.0),
        )  # fmt: skip
        greedy.append(model.tokenizer.decode(out.tokens_BxKxR[0, 0]))
    assert np.abs(logits[0] - logits[1][..., kept]).max() < 1e-5
    assert greedy[0] == greedy[1]


def test_a_trimmed_model_is_mapped_back_on_export(source, tmp_path):
    whole = read_huggingface(source)
    kept = np.arange(0, whole.tokenizer.vocab_size, 2)
    kept = np.union1d(kept, whole.tokenizer.byte_and_special_ids())
    small = trim(whole, kept)
    assert same(untrim(small).params, whole.params)
    trained = jax.tree.map(lambda x: x + 1, small.params)
    save_converted(epath.Path(tmp_path / "small"), small._replace(params=trained))
    export_model(str(tmp_path / "small"), str(tmp_path / "hf"))
    table = read_huggingface(epath.Path(tmp_path / "hf")).params["params"]["embedding"]["embedding"]
    old = whole.params["params"]["embedding"]["embedding"]
    dropped = np.setdiff1d(np.arange(len(old)), kept)
    assert len(dropped) > 5
    assert np.array_equal(table[dropped], old[dropped])
    assert np.array_equal(table[kept], old[kept] + 1)


def skills_model(tmp_path, config) -> epath.Path:
    """A tiny converted Gemma 3 whose tokenizer knows the embedded task's texts."""
    texts = SkillsTask(config.data).tokenizer_texts()
    model = random_model("gemma3", train_tokenizer(config.tokenizer, texts), layers=1)
    path = epath.Path(tmp_path / "model")
    save_converted(path, model)
    return path


def test_a_run_starts_from_a_converted_model_and_is_exported(tmp_path, capsys):
    small = ["--data.train_prompts=16", "--data.eval_prompts=16", "--sample.k=2", "--rounds=1"]
    small += [
        "--label.budget=16",
        "--label.beta=0.9",
        "--train.optimizer.steps=2",
        "--train.optimizer.batch_size=8",
    ]
    path = skills_model(tmp_path, override(Config(), small))
    config = override(Config(), [*small, f"--seed_model.path={path}"])
    ctx = make_context(config, RunDir(tmp_path / "ctx"))
    assert ctx.tokenizer.model == open_converted(path)[1].model
    from boostlm.experiment.run import planned_stages, run_experiment
    from boostlm.runtime.progress import Progress
    from boostlm.tasks.base import describe_task

    run_dir = RunDir(tmp_path / "run")
    run_dir.create(config)
    run_dir.keep_task(describe_task(ctx.task))
    config = dataclasses.replace(config, arms=("uniform",))
    run_experiment(
        dataclasses.replace(ctx, config=config), run_dir, Progress(planned_stages(config))
    )
    export = [str(tmp_path / "run"), str(tmp_path / "out"), "--to", "huggingface"]
    assert main(["convert", *export, "--arm", "uniform", "--round", "0"]) == 0
    assert same(read_huggingface(epath.Path(tmp_path / "out")).params, load_converted_params(path))
    assert main(["convert", *export[:1], str(tmp_path / "o2"), *export[2:], "--arm=uniform"]) == 0
    assert not same(
        read_huggingface(epath.Path(tmp_path / "o2")).params, load_converted_params(path)
    )


def test_a_seed_model_path_that_is_none_is_an_error(tmp_path):
    config = override(Config(), [f"--seed_model.path={tmp_path}"])
    with pytest.raises(BoostError, match="is not a converted model"):
        make_context(config, RunDir(tmp_path / "run"))
    path = skills_model(tmp_path, Config())
    config = override(Config(), [f"--seed_model.path={path}", "--model.layers=3"])
    with pytest.raises(BoostError, match=r"leave out either model\.\* or seed_model\.path"):
        make_context(config, RunDir(tmp_path / "run"))


def test_a_torn_or_mismatched_converted_model_is_an_error(source, tmp_path):
    path = epath.Path(tmp_path / "model")
    save_converted(path, read_huggingface(source))
    edit_json(path / "model.json", vocab_size=5)
    with pytest.raises(BoostError, match="the model 5"):
        open_converted(path)
    (path / "model.json").write_text("{}")
    with pytest.raises(BoostError, match="damaged"):
        open_converted(path)


def test_special_tokens_are_read_from_the_model(tmp_path):
    """EOS, BOS and stops at other places than in the tokenizers trained here."""
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_prefix=str(tmp_path / "m"), model_type="char",
        vocab_size=24, hard_vocab_limit=False, pad_id=0, unk_id=1, bos_id=3, eos_id=2,
        user_defined_symbols=["<end>"], minloglevel=2, add_dummy_prefix=False,
    )  # fmt: skip
    model = (tmp_path / "m.model").read_bytes()
    end = spm.SentencePieceProcessor(model_proto=model).piece_to_id("<end>")
    found = Tokenizer(model, [2, end])
    assert (found.bos_id, found.eos_id, found.stop_token_ids) == (3, 2, (2, end))
    assert found.encode_prompt("cab")[0] == 3
    assert found.encode_response("cab")[-1] == 2
    assert found.decode([3, *found.encode("cab"), end]) == "cab"
    with pytest.raises(BoostError, match="padding"):
        Tokenizer(model, [0])


def test_the_defaults_are_a_plain_decoder():
    """The embedded task's model has none of what Gemma adds."""
    found = jax.eval_shape(decoder_lm(ModelConfig(), 8).init, jax.random.key(0))["params"]
    assert found.keys() == {"embedding", "final_norm", "blocks_0", "blocks_1"}
    block = {"attention", "attention_norm", "mlp_norm", "gate", "up", "down"}
    assert found["blocks_0"].keys() == block
