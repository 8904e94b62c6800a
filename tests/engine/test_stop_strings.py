"""Texts that end a response: found in tokens, cut off, EOS in their place."""

import numpy as np
import pytest

from boostlm.config import TokenizerConfig
from boostlm.engine.stop_strings import cut_at_stops, stop_sequences
from boostlm.engine.tokenizer import PAD_ID, train_tokenizer
from boostlm.lm.generate import Responses

R = 16
TEXTS = ["a b c x! y! ! [DONE] [DONE]b abc! abc! cab [DONE]", "[ D O N E ] ! b!b a!a"] * 3


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TokenizerConfig("bpe", vocab_size=300), TEXTS)


def responses(rows, finished):
    tokens = np.full((1, len(rows), R), PAD_ID, np.int32)
    logprob = np.zeros((1, len(rows), R), np.float32)
    for k, row in enumerate(rows):
        tokens[0, k, : len(row)], logprob[0, k, : len(row)] = row, -np.arange(1, len(row) + 1)
    length = np.array([[len(row) for row in rows]], np.int32)
    return Responses(tokens, length, np.array([finished]), logprob)


def test_every_spelling_that_sampling_may_meet_is_an_ending(tokenizer):
    found = stop_sequences(tokenizer, ("[DONE]", "!"))
    assert (tokenizer.eos_id,) in found
    assert tuple(tokenizer.encode("[DONE]")) in found
    assert tuple(i for c in "[DONE]" for i in tokenizer.encode(c)) in found
    pieces = [tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]
    holding = {i for i, piece in enumerate(pieces) if "!" in piece}
    assert holding == {ending[0] for ending in found if len(ending) == 1} - {tokenizer.eos_id}
    assert len(holding) > 1
    assert stop_sequences(tokenizer, ()) == ((tokenizer.eos_id,),)


def test_the_stop_goes_and_eos_stands_in_its_place(tokenizer):
    eos = tokenizer.eos_id
    body = tokenizer.encode("abc cab")
    stop = [i for c in "[DONE]" for i in tokenizer.encode(c)]
    rows = [[*body, *stop], [*body, *stop, *body][:R], [*body, eos], [*body], [*stop]]
    out = cut_at_stops(tokenizer, responses(rows, [True, False, True, False, True]), ("[DONE]",))
    kept = [[*body, eos], [*body, eos], [*body, eos], body, [eos]]
    assert [row[: len(k)].tolist() for row, k in zip(out.tokens_BxKxR[0], kept)] == kept
    assert out.length_BxK.tolist() == [[len(k) for k in kept]]
    assert out.finished_BxK.tolist() == [[True, True, True, False, True]]  # the fourth is cut off
    n = len(body)
    assert (out.tokens_BxKxR[0, 0, n + 1 :] == PAD_ID).all()
    np.testing.assert_array_equal(out.logprob_BxKxR[0, 0, : n + 1], -np.arange(1, n + 2))
    assert (out.logprob_BxKxR[0, 0, n + 1 :] == 0).all()


def test_a_token_that_holds_more_than_the_stop_goes_with_it(tokenizer):
    with_more = [i for i in range(4, tokenizer.vocab_size) if "!" in tokenizer.decode([i])[1:]]
    assert with_more  # such as "c!"
    body = tokenizer.encode("ab")
    out = cut_at_stops(tokenizer, responses([[*body, with_more[0]]], [True]), ("!",))
    assert out.tokens_BxKxR[0, 0, : len(body) + 1].tolist() == [*body, tokenizer.eos_id]


def test_without_stops_nothing_changes(tokenizer):
    before = responses([tokenizer.encode("ab!")], [False])
    assert cut_at_stops(tokenizer, before, ()) is before
