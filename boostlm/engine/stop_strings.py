"""Stop strings: found as tokens while sampling, and cut off afterwards."""

from collections.abc import Sequence

import numpy as np

from boostlm.engine.tokenizer import PAD_ID, Tokenizer
from boostlm.lm.generate import Responses


def stop_sequences(
    tokenizer: Tokenizer, stop_strings: Sequence[str]
) -> tuple[tuple[int, ...], ...]:
    """Token sequences that end a response: stop tokens, and spellings of stop strings."""
    found: list[tuple[int, ...]] = [(i,) for i in tokenizer.stop_token_ids]
    for stop in stop_strings:
        found += tokenizer.spellings(stop)
    return tuple(dict.fromkeys(found))


def cut_at_stops(
    tokenizer: Tokenizer, responses: Responses, stop_strings: Sequence[str]
) -> Responses:
    """Replaces the first stop string of each response by EOS; such a response is finished.

    The tokens before it stay unchanged. A token that holds more than the stop string is replaced as
    a whole. EOS takes the log-probability of the first token that it replaces.

    Args:
      tokenizer: the model's tokenizer.
      responses: numpy arrays [N, K, ...].
      stop_strings: texts; none of them is empty.
    """
    if not stop_strings:
        return responses
    tokens, length, finished, logprob = (np.array(x) for x in responses)
    for place in np.ndindex(length.shape):
        row = tokens[place][: length[place]].tolist()
        kept = _before_stop(tokenizer, row, stop_strings)
        if kept < len(row):
            tokens[place][kept:], logprob[place][kept + 1 :] = PAD_ID, 0.0
            tokens[place][kept] = tokenizer.eos_id
            length[place], finished[place] = kept + 1, True
    return Responses(tokens, length, finished, logprob)


def _before_stop(tokenizer: Tokenizer, row: Sequence[int], stop_strings: Sequence[str]) -> int:
    """How many tokens of a row come before the first token of a stop string."""

    def holds(count: int) -> bool:
        text = tokenizer.decode(row[:count])
        return any(stop in text for stop in stop_strings)

    if not holds(len(row)):
        return len(row)
    low, high = 0, len(row)  # no stop string in the first `low` tokens, one in the first `high`
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    text = tokenizer.decode(row[:high])
    before = text[: min(text.find(stop) for stop in stop_strings if stop in text)]
    while low > 0 and len(tokenizer.decode(row[:low])) > len(before):
        low -= 1
    return low
