"""SentencePiece with explicit BOS, EOS and padding; trained here or taken from a model."""

import io
from collections.abc import Iterable, Sequence

import numpy as np
import sentencepiece as spm

from boostlm.config import TokenizerConfig
from boostlm.errors import BoostError

PAD_ID = 0  # in every tokenizer, Gemma's too; it never ends a response
_EOS_ID, _BOS_ID, _UNK_ID = 1, 2, 3  # in the tokenizers that are trained here
_SPACE = "\u2581"  # SentencePiece writes a space so, and would decode it to a space


class Tokenizer:
    """Text to token ids and back; decode(encode(text)) == text.

    Texts are always segmented by the whole SentencePiece model. A model with a trimmed vocabulary
    has fewer tokens: its token i is SentencePiece's token kept[i].
    """

    def __init__(
        self, model: bytes, spm_stop_ids: Sequence[int] = (), kept: np.ndarray | None = None
    ) -> None:
        """Wraps a serialized SentencePiece model.

        Args:
          model: serialized.
          spm_stop_ids: SentencePiece ids that end a response besides EOS.
          kept: ascending SentencePiece ids that the language model knows; None for all.

        Raises:
          BoostError: the bytes are not a SentencePiece model, or a special token is missing.
        """
        self.model = model
        self.spm_stop_ids = tuple(spm_stop_ids)
        try:
            self._spm = spm.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise BoostError(f"this is not a SentencePiece model: {error}") from error
        size = self._spm.vocab_size()
        self.kept = np.arange(size) if kept is None else np.asarray(kept)
        self._ours = np.full(size, -1)
        self._ours[self.kept] = np.arange(len(self.kept))
        ends = (self._spm.eos_id(), *self.spm_stop_ids)
        needed = (*ends, self._spm.bos_id())
        if not all(0 <= i < size and self._ours[i] >= 0 for i in needed):
            raise BoostError(
                f"EOS, stop and BOS are the tokens {needed}, but the tokenizer's {size} lack some"
            )
        if self._spm.pad_id() != PAD_ID or self._ours[PAD_ID] != PAD_ID or PAD_ID in ends:
            raise BoostError(
                f"the tokenizer's padding is {self._spm.pad_id()}; it has to be token {PAD_ID} and "
                f"must not end responses, as {ends} do"
            )
        self.stop_token_ids = tuple(dict.fromkeys(int(self._ours[i]) for i in ends))
        self.eos_id, self.bos_id = self.stop_token_ids[0], int(self._ours[self._spm.bos_id()])
        # As lists: indexing an array costs more than segmenting a short text.
        self._ours_of, self._spm_of = self._ours.tolist(), self.kept.tolist()
        self._silent = {PAD_ID, self.bos_id, *self.stop_token_ids}

    @property
    def vocab_size(self) -> int:
        """Number of the language model's tokens, specials included (V)."""
        return len(self.kept)

    @property
    def full_size(self) -> int:
        """Number of SentencePiece's tokens, specials included."""
        return len(self._ours)

    def byte_and_special_ids(self) -> list[int]:
        """SentencePiece ids that any vocabulary needs: bytes, padding, BOS, unknown and stops."""
        spm_ = self._spm
        special = (spm_.pad_id(), spm_.bos_id(), spm_.unk_id(), spm_.eos_id(), *self.spm_stop_ids)
        return sorted({*special, *(i for i in range(self.full_size) if spm_.is_byte(i))})

    def encode(self, text: str) -> list[int]:
        """Token ids, without BOS or EOS; BoostError if the vocabulary cannot write the text."""
        ids = self._spm.encode(text)
        if self._spm.unk_id() in ids or _SPACE in text:
            raise BoostError(f"the tokenizer cannot represent {text!r}: train it on such texts")
        ours = [self._ours_of[i] for i in ids]
        if min(ours, default=0) < 0:
            dropped = [self._spm.id_to_piece(i) for i in ids if self._ours_of[i] < 0][:5]
            raise BoostError(
                f"the trimmed vocabulary lacks {dropped}, needed for {text[:60]!r}: convert the "
                "model again, keeping the tokens of such texts and of the task (--data.task NAME)"
            )
        return ours

    def encode_prompt(self, text: str) -> list[int]:
        """BOS and the text."""
        return [self.bos_id, *self.encode(text)]

    def encode_response(self, text: str) -> list[int]:
        """The text and EOS."""
        return [*self.encode(text), self.eos_id]

    def spellings(self, text: str) -> list[tuple[int, ...]]:
        """Token sequences that spell a text.

        They are the usual one, one token for each character, and any single token that holds the
        whole text. There may be other ways to split it.
        """
        pieces = self._spm.decode([[int(piece)] for piece in self.kept])
        holding: list[tuple[int, ...]] = [(i,) for i, piece in enumerate(pieces) if text in piece]
        for parts in ([text], text):
            try:
                holding.append(tuple(i for part in parts for i in self.encode(part)))
            except BoostError:  # a trimmed vocabulary lacks a token of it
                continue
        return list(dict.fromkeys(holding))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids; PAD, BOS and stop tokens give no text."""
        return self._spm.decode([self._spm_of[i] for i in map(int, ids) if i not in self._silent])


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
            eos_id=_EOS_ID,
            bos_id=_BOS_ID,
            unk_id=_UNK_ID,
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise BoostError(f"training the tokenizer failed ({config}): {error}") from error
    return Tokenizer(out.getvalue())
