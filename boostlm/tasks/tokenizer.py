"""SentencePiece: trained on a task's texts, with BOS once, EOS learned and padding of its own."""

import io
from collections.abc import Iterable, Sequence

import sentencepiece as spm

from boostlm.config import TokenizerConfig
from boostlm.errors import BoostError

PAD_ID, EOS_ID, BOS_ID, UNK_ID = 0, 1, 2, 3
_SPACE = "\u2581"  # stands for a space inside SentencePiece, and would come back as one


class Tokenizer:
    """Text to token ids and back; decode(encode(text)) == text."""

    def __init__(self, model: bytes):
        """Wraps a serialized SentencePiece model."""
        self.model = model
        self._spm = spm.SentencePieceProcessor(model_proto=model)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, specials included (V)."""
        return self._spm.vocab_size()

    def encode(self, text: str) -> list[int]:
        """Token ids, without BOS or EOS. Characters that no token covers are a BoostError."""
        ids = self._spm.encode(text)
        if UNK_ID in ids or _SPACE in text:
            raise BoostError(f"the tokenizer cannot represent {text!r}: train it on such texts")
        return ids

    def encode_prompt(self, text: str) -> list[int]:
        """BOS and the text."""
        return [BOS_ID, *self.encode(text)]

    def encode_response(self, text: str) -> list[int]:
        """The text and EOS."""
        return [*self.encode(text), EOS_ID]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids; specials (PAD, EOS, BOS) give nothing."""
        return self._spm.decode([int(i) for i in ids])


def train_tokenizer(config: TokenizerConfig, texts: Iterable[str]) -> Tokenizer:
    """Trains a SentencePiece model; the same texts and settings give the same model."""
    out = io.BytesIO()
    try:
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=out,
            model_type=config.kind,
            vocab_size=config.vocab_size,
            hard_vocab_limit=False,
            byte_fallback=config.kind != "char",
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            character_coverage=1.0,
            split_digits=True,
            allow_whitespace_only_pieces=True,
            user_defined_symbols=["\n"],
            pad_id=PAD_ID,
            eos_id=EOS_ID,
            bos_id=BOS_ID,
            unk_id=UNK_ID,
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise BoostError(f"training the tokenizer failed ({config}): {error}") from error
    return Tokenizer(out.getvalue())
