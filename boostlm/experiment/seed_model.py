"""The seed model: pretrained or new, and trained on trusted examples of the task."""

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
    """The model that every arm of a seed starts from.

    It begins at `seed_model.path`, or anew, and is trained on the task's seed examples, unless
    there is a path and `seed_model.examples` is 0.
    """
    config = ctx.config.seed_model
    if not config.path:
        begin = ctx.learner.init(round_key(seed, Purpose.INIT, 0))
        return train_on_examples(ctx, seed, begin, progress, partial)
    path = open_path(config.path, "seed_model.path")
    params = load_converted_params(path, ctx.learner.parallel.shapes)
    begin = LearnerState(params, None, np.float32(0))
    return train_on_examples(ctx, seed, begin, progress, partial) if config.examples else begin


def train_on_examples(
    ctx: RunContext,
    seed: int,
    begin: LearnerState,
    progress: OnProgress,
    partial: PartialTraining | None = None,
) -> LearnerState:
    """Trains a model on the task's seed examples, in shuffled epochs.

    Examples that are longer than the limits on prompts or responses are left out. Of the others,
    `seed_model.examples` are drawn; 0 takes all.

    Args:
      ctx: the run's context.
      seed: which repeat.
      begin: the model to train.
      progress: called as (steps done, steps in all).
      partial: where the training is saved on SIGTERM, and continued from.

    Raises:
      BoostError: there are too few examples, or the loss is not finite.
    """
    config, R = ctx.config, ctx.config.sample.max_new_tokens
    limit = config.data.max_prompt_tokens
    rng = np.random.default_rng([seed, int(Purpose.SEED_TRAINING)])
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
    if wanted := config.seed_model.examples:
        if wanted > len(pairs):
            raise BoostError(
                f"seed_model.examples is {wanted}, and the task has {len(pairs)} seed examples "
                "that are short enough: lower it"
            )
        pairs = [pairs[i] for i in rng.permutation(len(pairs))[:wanted]]
    texts = [prompt for prompt, _ in pairs]
    check_seed_contamination(ctx.task, texts)
    prompts = tokenize_prompts(ctx.tokenizer, {"seed": texts}, limit)["seed"]
    tokens = pad_rows([tokens for _, tokens in pairs], R)
    length = np.array([len(tokens) for _, tokens in pairs], np.int32)

    optimizer = config.seed_model.optimizer
    rows = optimizer.steps * optimizer.batch_size
    epochs = -(-rows // len(pairs))
    chosen = np.concatenate([rng.permutation(len(pairs)) for _ in range(epochs)])[:rows]
    state = ctx.learner.train(
        begin,
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
