"""The base model, sampled again on the prompts that are asked for: the reported experiment."""

from collections.abc import Sequence

import numpy as np

from boostlm.config import Config
from boostlm.engine.learner import LanguageLearner, texts_of
from boostlm.engine.prompt_table import PromptTable
from boostlm.engine.stop_strings import cut_at_stops
from boostlm.engine.tokenizer import Tokenizer
from boostlm.labelers.base import Label, Labeler, Query, in_batches
from boostlm.lm.language_model import Params
from boostlm.lm.token_sampling import sampling_params_of
from boostlm.prng import Purpose, round_key

_FILLINGS = 8  # of all rows between two commits: a kill loses at most so much work


def frozen_model_labeler(
    config: Config,
    learner: LanguageLearner,
    params: Params,
    prompts: PromptTable,
    tokenizer: Tokenizer,
    stop_strings: Sequence[str],
) -> Labeler:
    """Each label is a response that is drawn from (seed, round, prompt, sample).

    The purpose in its key is another than that of the model's own samples, so no label repeats one
    of those but by chance. A response that was cut off is a label that is not finished.

    Args:
      config: `sample` says how tokens are drawn, `label.cost` what a label costs.
      learner: whose `sample_pairs` is used.
      params: of the seed model, from before any round, of the seed that will ask.
      prompts: the training prompts.
      tokenizer: of the model.
      stop_strings: texts that end a response of the task.
    """
    sampling = sampling_params_of(config.sample)

    def label(queries: Sequence[Query]) -> list[Label]:
        [(seed, round_)] = {(query.seed, query.round) for query in queries}
        responses = learner.sample_pairs(
            params,
            prompts,
            np.array([query.prompt for query in queries], np.int32),
            np.array([query.sample for query in queries], np.int32),
            round_key(seed, Purpose.LABEL, round_ - 1),  # keys count the rounds before
            sampling,
        )
        responses = cut_at_stops(tokenizer, responses, stop_strings)
        texts = texts_of(tokenizer, responses.tokens_BxKxR, responses.length_BxK)
        return [
            Label(text, "frozen_model", config.label.cost, bool(finished))
            for text, finished in zip(texts, responses.finished_BxK, strict=True)
        ]

    return in_batches(label, max(1, int(_FILLINGS * learner.batch_size)))
