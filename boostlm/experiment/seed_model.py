"""The seed model: pretrained, or trained once a seed on examples that are not curated prompts."""

import numpy as np

from boostlm.engine.learner import LearnerState
from boostlm.engine.prompt_table import pad_rows, tokenize_prompts
from boostlm.engine.sampler import OnProgress
from boostlm.engine.training_rows import Examples, training_rows
from boostlm.errors import BoostError
from boostlm.experiment.context import RunContext
from boostlm.pretrained.converted import load_converted_params
from boostlm.prng import Purpose, round_key
from boostlm.storage.partial_stages import PartialTraining
from boostlm.tasks.contamination import check_seed_contamination
from boostlm.user_code import open_path


def make_seed_model(
    ctx: RunContext, seed: int, progress: OnProgress, partial: PartialTraining | None = None
) -> LearnerState:
    """The model at `seed_model.path`, or without a path one that `train_seed_model` makes."""
    if ctx.config.seed_model.path:
        path = open_path(ctx.config.seed_model.path, "seed_model.path")
        return LearnerState(
            load_converted_params(path, ctx.learner.parallel.shapes), None, np.float32(0)
        )
    return train_seed_model(ctx, seed, progress, partial)


def train_seed_model(
    ctx: RunContext, seed: int, progress: OnProgress, partial: PartialTraining | None = None
) -> LearnerState:
    """Trains a fresh model on the task's seed examples, in shuffled epochs.

    Examples that are longer than the limits on prompts or responses are left out.
    """
    config, R = ctx.config, ctx.config.sample.max_new_tokens
    limit = config.data.max_prompt_tokens
    pairs = [
        (prompt, tokens)
        for prompt, response in ctx.task.seed_examples(seed)
        if len(tokens := ctx.tokenizer.encode_response(response)) <= R
        and len(ctx.tokenizer.encode_prompt(prompt)) <= limit
    ]
    if not pairs:
        raise BoostError(
            "no seed example fits data.max_prompt_tokens and sample.max_new_tokens: raise them"
        )
    texts = [prompt for prompt, _ in pairs]
    check_seed_contamination(ctx.task, texts)
    prompts = tokenize_prompts(ctx.tokenizer, {"seed": texts}, limit)["seed"]
    tokens = pad_rows([tokens for _, tokens in pairs], R)
    length = np.array([len(tokens) for _, tokens in pairs], np.int32)

    optimizer = config.seed_model.optimizer
    rows = optimizer.steps * optimizer.batch_size
    rng = np.random.default_rng([seed, int(Purpose.SEED_TRAINING)])
    epochs = -(-rows // len(pairs))
    chosen = np.concatenate([rng.permutation(len(pairs)) for _ in range(epochs)])[:rows]
    state = ctx.learner.init(round_key(seed, Purpose.INIT, 0))
    state = ctx.learner.train(
        state,
        training_rows(
            ctx.learner.shards(len(pairs)).mesh,
            prompts,
            None,
            Examples(np.arange(len(pairs), dtype=np.int32), tokens, length),
            chosen,
            np.ones(rows, bool),
        ),
        optimizer,
        progress,
        prompts.prefix_P0,
        partial,
    )
    if not np.isfinite(state.loss):
        raise BoostError(
            "the seed model's loss is not finite: lower seed_model.optimizer.learning_rate"
        )
    return state._replace(optimizer_state=None)
