"""The configs of Gemma 2 (arXiv 2408.00118) and Gemma 3 text models (arXiv 2503.19786).

Gemma 2 alternates sliding-window layers with global ones, and soft-caps attention scores and
logits. Gemma 3 has five sliding-window layers for each global one, whose rotary base is longer, and
normalises queries and keys instead of capping.
"""

from boostlm.config import ModelConfig

GEMMA2_2B = ModelConfig(
    layers=26,
    width=2304,
    heads=8,
    kv_heads=4,
    head_dim=256,
    mlp_width=9216,
    global_every=2,
    window=4096,
    post_norms=True,
    attention_cap=50.0,
    logit_cap=30.0,
)

GEMMA2_9B = ModelConfig(
    layers=42,
    width=3584,
    heads=16,
    kv_heads=8,
    head_dim=256,
    mlp_width=14336,
    global_every=2,
    window=4096,
    post_norms=True,
    attention_cap=50.0,
    logit_cap=30.0,
)

GEMMA3_270M = ModelConfig(
    layers=18,
    width=640,
    heads=4,
    kv_heads=1,
    head_dim=256,
    mlp_width=2048,
    rope_base=1_000_000.0,
    global_every=6,
    window=512,
    qk_norm=True,
    post_norms=True,
)

GEMMA3_1B = ModelConfig(
    layers=26,
    width=1152,
    heads=4,
    kv_heads=1,
    head_dim=256,
    mlp_width=6912,
    rope_base=1_000_000.0,
    global_every=6,
    window=512,
    qk_norm=True,
    post_norms=True,
)

GEMMA2_VOCAB_SIZE = 256_000
GEMMA3_VOCAB_SIZE = 262_144
