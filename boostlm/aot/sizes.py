"""Sizes of model, vocabulary and prompts, which a run's programs are compiled for."""

import math
from typing import NamedTuple

from boostlm.config import Config, ModelConfig
from boostlm.errors import BoostError
from boostlm.experiment.context import assemble
from boostlm.pretrained import gemma
from boostlm.pretrained.converted import is_converted
from boostlm.user_code import open_path

_GEMMA = {
    "gemma2_2b": (gemma.GEMMA2_2B, gemma.GEMMA2_VOCAB_SIZE),
    "gemma2_9b": (gemma.GEMMA2_9B, gemma.GEMMA2_VOCAB_SIZE),
    "gemma3_270m": (gemma.GEMMA3_270M, gemma.GEMMA3_VOCAB_SIZE),
    "gemma3_1b": (gemma.GEMMA3_1B, gemma.GEMMA3_VOCAB_SIZE),
}


class Sizes(NamedTuple):
    """The sizes that, together with the config, set the shapes of a run's programs.

    Attributes:
      model: the decoder's config.
      vocab_size: V.
      stop_sequences: token sequences that end a response.
      prefix: tokens that all prompts begin with.
      prompt: tokens of the longest prompt after the prefix.
      source: where the sizes come from, for the reader.
    """

    model: ModelConfig
    vocab_size: int
    stop_sequences: tuple[tuple[int, ...], ...]
    prefix: int
    prompt: int
    source: str


def parameters(sizes: Sizes) -> int:
    """How many parameters the model has."""
    c, width = sizes.model, sizes.model.width
    attention = 2 * (c.heads + c.kv_heads) * c.head_dim * width + 2 * c.qk_norm * c.head_dim
    norms = (4 if c.post_norms else 2) * width
    each = attention + 3 * width * c.mlp_width + norms
    return math.prod((sizes.vocab_size, width)) + c.layers * each + width


def named_sizes(config: Config, model: str, prefix: int | None, prompt: int | None) -> Sizes:
    """The sizes of a Gemma by name, for prompts of given lengths, without any data.

    Args:
      config: `data.max_prompt_tokens` bounds prompts whose length is not given.
      model: "gemma2_2b", ...
      prefix: tokens that all prompts begin with; None for 0.
      prompt: tokens of the longest prompt after the prefix; None for the limit.
    """
    if model not in _GEMMA:
        raise BoostError(f"--model {model}: choose from {', '.join(_GEMMA)}")
    prefix, limit = prefix or 0, config.data.max_prompt_tokens
    prompt = limit - prefix if prompt is None else prompt
    if prefix < 0 or prompt < 1 or prefix + prompt > limit:
        raise BoostError(
            f"{prefix} prefix tokens and {prompt} prompt tokens: the first at least 0, the second "
            f"at least 1, and together at most data.max_prompt_tokens {limit}"
        )
    return Sizes(*_GEMMA[model], ((1,),), prefix, prompt, f"{model}, prompt lengths as given")


def measured_sizes(config: Config) -> Sizes:
    """The sizes of a run of this config, from its own model, tokenizer and prompts."""
    path = open_path(config.seed_model.path, "seed_model.path")
    if config.seed_model.path and not is_converted(path):
        raise BoostError(
            f"{path} is not a converted model: convert one, or name a model of its size with "
            f"--model, one of {', '.join(_GEMMA)}"
        )
    parts = assemble(config)
    longest = max(table.tokens_NxP.shape[1] for table in parts.prompts.values())
    return Sizes(
        model=parts.model,
        vocab_size=parts.tokenizer.vocab_size,
        stop_sequences=parts.stop_sequences(),
        prefix=len(parts.prompts["train"].prefix_P0),
        prompt=longest,
        source="the run's own prompts",
    )
