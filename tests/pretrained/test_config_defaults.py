"""A config.json is read as transformers reads it, whichever keys it lacks."""

import json

import pytest
from etils import epath
from support.gemma_reference import TINY

from boostlm.config import ModelConfig
from boostlm.errors import BoostError
from boostlm.pretrained.gemma import GEMMA2_2B, GEMMA3_1B
from boostlm.pretrained.huggingface import (
    _DEFAULTS,
    _FIXED,
    _check_layer_types,
    _model_config,
    _with_defaults,
    read_huggingface,
)

ARCHITECTURES = {"Gemma2ForCausalLM": "Gemma2Config", "Gemma3ForCausalLM": "Gemma3TextConfig"}
_SHAPE = {
    "hidden_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "vocab_size": 33,
    "num_hidden_layers": 12,
    "query_pre_attn_scalar": 20,
    "attn_logit_softcapping": 2.0,
    "final_logit_softcapping": 3.0,
    "sliding_window": 24,
    "eos_token_id": 7,
}
PERIOD_3 = ["sliding_attention", "sliding_attention", "full_attention"] * 4
FLAT = {"rope_theta": 5.0, "rope_type": "default"}
FULL = {
    "Gemma2ForCausalLM": {**_SHAPE, "rope_parameters": FLAT, "layer_types": PERIOD_3},
    "Gemma3ForCausalLM": {
        **_SHAPE,
        "rope_parameters": {"full_attention": FLAT, "sliding_attention": {**FLAT, "rope_theta": 6.0}},
        "layer_types": PERIOD_3,
    },
}  # fmt: skip
OLD = {"rope_parameters": None, "rope_theta": 77.0, "rope_local_base_freq": 3.0}


def full_config(architecture):
    """All keys that transformers writes, the values that matter unlike its defaults."""
    transformers = pytest.importorskip("transformers", reason="parity needs the extra `parity`")
    made = getattr(transformers, ARCHITECTURES[architecture])(**FULL[architecture])
    return json.loads(made.to_json_string(use_diff=False)) | {"architectures": [architecture]}


def theirs(raw, architecture):
    """What transformers reads as our config and vocabulary's size; None if it refuses."""
    import transformers

    try:
        c = getattr(transformers, ARCHITECTURES[architecture]).from_dict(
            json.loads(json.dumps(raw))
        )
    except Exception:
        return None
    ropes = c.rope_parameters
    full, local = (ropes.get(f"{kind}_attention", ropes) for kind in ("full", "sliding"))
    if not isinstance(full.get("rope_theta"), float) or c.sliding_window is None:
        return None  # the model would fail
    if {full["rope_type"], local["rope_type"]} != {"default"} or c.use_bidirectional_attention:
        return None  # the decoder lacks it
    if not c.tie_word_embeddings or c.attention_bias or c.rms_norm_eps != 1e-6:
        return None
    kinds = c.layer_types
    every = kinds.index("full_attention") + 1 if "full_attention" in kinds else len(kinds) + 1
    assert kinds == [f"{'sliding' if (i + 1) % every else 'full'}_attention" for i in range(len(kinds))]  # fmt: skip
    config = ModelConfig(
        layers=c.num_hidden_layers,
        width=c.hidden_size,
        heads=c.num_attention_heads,
        kv_heads=c.num_key_value_heads,
        head_dim=c.head_dim,
        mlp_width=c.intermediate_size,
        rope_base=full["rope_theta"],
        global_every=every,
        window=c.sliding_window,
        local_rope_base=local["rope_theta"],
        query_divisor=0 if c.query_pre_attn_scalar == c.head_dim else c.query_pre_attn_scalar,
        qk_norm=architecture == "Gemma3ForCausalLM",
        post_norms=True,
        attention_cap=c.attn_logit_softcapping or 0.0,
        logit_cap=c.final_logit_softcapping or 0.0,
    )
    return config, c.vocab_size, c.eos_token_id


def ours(raw):
    try:
        with_all = _with_defaults(json.loads(json.dumps(raw)), "config.json")
        _check_layer_types(with_all, "config.json")
        return _model_config(with_all, "config.json"), with_all["vocab_size"], with_all["eos_token_id"]  # fmt: skip
    except BoostError:
        return None


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_key_left_out_or_null_is_read_as_transformers_reads_it(architecture):
    whole = full_config(architecture)
    assert ours(whole) == theirs(whole, architecture)
    assert ours(whole)[0].global_every == 3
    assert len(whole) > 30
    differ = 0
    for key in whole:
        left_out = {k: v for k, v in whole.items() if k != key}
        assert ours(left_out) == theirs(left_out, architecture), f"without {key}"
        # 26 layers are not the 12 of layer_types.
        assert (ours(left_out) is None) == (key == "num_hidden_layers")
        differ += ours(left_out) != ours(whole)
        if key not in ("architectures", "model_type"):
            null = {**whole, key: None}
            read = key in _FIXED or key in _DEFAULTS[architecture] or key in FULL[architecture]
            expected = theirs(null, architecture) if read else ours(whole)
            assert ours(null) == expected, f"{key} is null"
    assert differ == len(_SHAPE) + 2  # else a default goes untested
    for key in whole:  # of the keys of an old file, in pairs
        old = {k: v for k, v in (whole | OLD).items() if k not in (key, "layer_types")}
        assert ours(old) == theirs(old, architecture), f"an old file without {key}"
        for other in OLD:
            less = {k: v for k, v in old.items() if k != other}
            assert ours(less) == theirs(less, architecture), f"without {key} and {other}"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    "raw",
    [
        {},
        OLD,
        {"rope_theta": 5.0},
        {"rope_local_base_freq": 5.0},
        {"rope_scaling": None},
        {"rope_scaling": {"rope_type": "default"}, "rope_theta": 5.0},
        {"rope_scaling": {"rope_type": "default", "rope_theta": 5.0}},
        {"rope_scaling": {"rope_type": "linear", "factor": 8.0}},
        {"rope_scaling": {"rope_type": "dynamic", "factor": 8.0}, "rope_theta": 5.0},
        {"rope_parameters": {"rope_type": "default"}},
        {"rope_parameters": {"rope_theta": 5.0}},
        {"rope_parameters": {"rope_theta": 5.0}, "rope_theta": 9.0},
        {"rope_parameters": {}, "rope_theta": 9.0},
        {"rope_theta": None},
        {"sliding_window_pattern": 2},
        {"sliding_window_pattern": 3},
        {"sliding_window_pattern": 1},
        {"sliding_window_pattern": 3, "layer_types": ["full_attention"] * 26},
        {"layer_types": None},
        {"layer_types": ["sliding_attention"] * 26},
        {"query_pre_attn_scalar": 144},
        {"query_pre_attn_scalar": 144.5},
        {"head_dim": "256"},
        {"hidden_size": 2304.0},
        {"num_attention_heads": True},
        {"attn_logit_softcapping": None},
        {"final_logit_softcapping": 30.0, "attn_logit_softcapping": None},
        {"tie_word_embeddings": False},
        {"attention_bias": True},
        {"rms_norm_eps": 1e-5},
        {"use_bidirectional_attention": True},
        {"use_bidirectional_attention": None},
        {"hidden_act": "gelu"},
        {"unknown_key": 3},
    ],
    ids=json.dumps,
)
def test_a_sparse_config_is_read_as_transformers_reads_it(architecture, raw):
    pytest.importorskip("transformers", reason="parity needs the extra `parity`")
    raw = {"architectures": [architecture], **raw}
    assert ours(raw) == theirs(raw, architecture)


@pytest.mark.parametrize(
    "ropes",
    [
        {"full_attention": {"rope_theta": 5.0}},
        {"sliding_attention": {"rope_theta": 5.0}},
        {"full_attention": {}, "sliding_attention": None},
        {"full_attention": None, "sliding_attention": {"rope_type": "default"}},
        {"full_attention": {"rope_theta": 5.0}, "sliding_attention": {"rope_theta": 6.0}},
        {"full_attention": {"rope_type": "linear", "factor": 2.0}},
    ],
)
@pytest.mark.parametrize("top", [{}, {"rope_theta": 8.0, "rope_local_base_freq": 9.0}])
def test_the_rotary_bases_of_gemma_3(ropes, top):
    pytest.importorskip("transformers", reason="parity needs the extra `parity`")
    raw = {"architectures": ["Gemma3ForCausalLM"], "rope_parameters": ropes, **top}
    assert ours(raw) == theirs(raw, "Gemma3ForCausalLM")


def test_without_transformers_the_defaults_are_these():
    """And `model_type` stands in for `architectures`."""
    assert ours({"model_type": "gemma2"}) == (GEMMA2_2B, 256_000, 1)
    config, size, end = ours({"model_type": "gemma3_text"})
    assert (config.qk_norm, config.logit_cap, config.window, size, end) == (
        True,
        0,
        4096,
        262_208,
        1,
    )
    one = {"hidden_size": 1152, "num_attention_heads": 4, "num_key_value_heads": 1}
    one |= {"intermediate_size": 6912, "sliding_window": 512}
    assert ours({"model_type": "gemma3_text", **one})[0] == GEMMA3_1B
    assert ours({"model_type": "llama"}) is None
    assert ours({}) is None


@pytest.mark.slow
def test_a_default_that_does_not_fit_the_weights_is_named(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy", reason="needs the extra `convert`")
    from boostlm.config import TokenizerConfig
    from boostlm.engine.tokenizer import train_tokenizer

    model = train_tokenizer(TokenizerConfig("char", 32), ["abcab cab"]).model
    (tmp_path / "tokenizer.model").write_bytes(model)
    safetensors.save_file({}, tmp_path / "model.safetensors")
    width = {"hidden_size": TINY["gemma3"].width}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3_text", **width}))
    with pytest.raises(
        BoostError, match=r"num_hidden_layers is missing: 26; .*head_dim is missing"
    ):
        read_huggingface(epath.Path(tmp_path))
