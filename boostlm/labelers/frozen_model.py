"""A labeler that samples the frozen base model, as in the reported experiment."""

from collections.abc import Sequence

import numpy as np

from boostlm.config import Config
from boostlm.engine.learner import LanguageLearner, texts_of
from boostlm.engine.prompt_table import PromptTable
from boostlm.engine.stop_strings import cut_at_stops
from boostlm.engine.tokenizer import Tokenizer
from boostlm.labelers.base import CUT_OFF, Label, Labeler, Query, in_batches
from boostlm.lm.language_model import Params
from boostlm.lm.token_sampling import sampling_params_of
from boostlm.prng import Purpose, round_key

_FILLINGS = 8  # batches of decode slots per commit; a kill loses at most this much work


def frozen_model_labeler(
    config: Config,
    learner: LanguageLearner,
    params: Params,
    prompts: PromptTable,
    tokenizer: Tokenizer,
    stop_strings: Sequence[str],
) -> Labeler:
    """A labeler whose labels depend on (seed, round, prompt, sample) only.

    The PRNG key has a different purpose than that of the model's own samples, so labels are
    independent of them. A response that is cut off becomes an unanswered label.

    Args:
      config: `sample` sets the sampling parameters, `label.cost` the cost of a label.
      learner: samples the model with `sample_pairs`.
      params: parameters of the seed model of the queries' seed.
      prompts: the training prompts.
      tokenizer: the model's tokenizer.
      stop_strings: strings that end a response of the task.
    """
    sampling = sampling_params_of(config.sample)

    def label(queries: Sequence[Query]) -> list[Label]:
        [(seed, round_)] = {(query.seed, query.round) for query in queries}
        responses = learner.sample_pairs(
            params,
            prompts,
            np.array([query.prompt for query in queries], np.int32),
            np.array([query.sample for query in queries], np.int32),
            round_key(seed, Purpose.LABEL, round_ - 1),  # keys count completed rounds
            sampling,
            config.label.budget,
        )
        responses = cut_at_stops(tokenizer, responses, stop_strings)
        texts = texts_of(tokenizer, responses.tokens_BxKxR, responses.length_BxK)
        return [
            Label(text, "frozen_model", config.label.cost, "" if finished else CUT_OFF)
            for text, finished in zip(texts, responses.finished_BxK, strict=True)
        ]

    return in_batches(label, max(1, int(_FILLINGS * learner.batch_size)))
