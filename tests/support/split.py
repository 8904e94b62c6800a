"""A model to split, and the meshes of eight devices."""

import jax

from boostlm import decoder_lm
from boostlm.config import ModelConfig
from boostlm.lm.sharding import device_mesh

MESHES = ("8x1", "4x2", "2x4", "1x8")
V = 64
CONFIG = ModelConfig(
    layers=2, width=32, heads=8, kv_heads=2, head_dim=8, mlp_width=64, global_every=2, window=10,
    qk_norm=True, post_norms=True, attention_cap=50.0, logit_cap=30.0,
)  # fmt: skip
PARAMS = jax.tree.map(lambda x: 2 * x, jax.jit(decoder_lm(CONFIG, V).init)(jax.random.key(0)))


def mesh_named(name):
    """The mesh of a setting such as "2x4"."""
    data, model = map(int, name.split("x"))
    return device_mesh(jax.devices()[: data * model], model)
