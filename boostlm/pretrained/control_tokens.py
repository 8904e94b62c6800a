"""The types of a vocabulary's tokens: control tokens must not be normal text.

Text is cut at control tokens first. A file that calls `<start_of_turn>` normal would have it cut
into fifteen pieces, which no model was trained on.
"""

import re
from collections.abc import Collection, Sequence
from typing import Any

from boostlm.errors import BoostError

# Types of tokens, the same in GGUF and in SentencePiece.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)

# Gemma's; its other tokens in angle brackets are HTML.
_NAME = re.compile(
    r"<(pad|eos|bos|unk|mask|unused[0-9]+|(start|end)_of_\w+|\w+_soft_token)>|\[multimodal\]"
)


def sentencepiece() -> Any:
    """The module of SentencePiece's protobuf messages.

    Raises:
      BoostError: protobuf is not installed.
    """
    try:
        from sentencepiece import sentencepiece_model_pb2
    except ImportError as error:
        raise BoostError("this needs protobuf: pip install 'boostlm[convert]'") from error
    return sentencepiece_model_pb2


def checked_types(
    pieces: Sequence[str],
    types: Sequence[int],
    specials: Collection[int],
    unknown: int,
    ends: Collection[int],
    where: str,
) -> list[int]:
    """The types that a SentencePiece model needs.

    Control tokens become user-defined, but for `specials`: matched in text and decoded to text, as
    in Gemma's own file.

    Args:
      pieces: the vocabulary's pieces.
      types: the type of each, as the file says.
      specials: ids of padding, BOS and EOS.
      unknown: id of the unknown token.
      ends: ids of the tokens that end a response.
      where: the file, for messages.

    Raises:
      BoostError: the file calls a control token something else.
    """
    found, wrong = list(types), []
    for i, (piece, kind) in enumerate(zip(pieces, types)):
        if i == unknown:
            allowed, found[i] = {CONTROL, UNKNOWN}, UNKNOWN
        elif i in specials:
            allowed = {CONTROL}
        elif i in ends or _NAME.fullmatch(piece):
            unused = {UNUSED} if piece.startswith("<unused") else set()
            allowed = {CONTROL, USER_DEFINED} | unused
            found[i] = USER_DEFINED if kind == CONTROL else kind
        else:
            allowed = {kind}
            found[i] = USER_DEFINED if kind == CONTROL else kind
        if kind not in allowed:
            wrong.append(f"{piece} ({i}) has type {kind}")
    if wrong:
        shown = ", ".join(wrong[:8]) + f" and {len(wrong) - 8} more" * (len(wrong) > 8)
        raise BoostError(
            f"{where}: control tokens are not marked as such: {shown}, not {CONTROL} (control). "
            "Prompts with them would be cut into other tokens than the model was trained on. "
            "Convert the original model's directory with its own tokenizer.model, or a GGUF file "
            "made from it by a current version of llama.cpp"
        )
    return found


def checked_model(model: bytes, ends: Collection[int], where: str) -> bytes:
    """A serialized SentencePiece model with the types of `checked_types`; unchanged if it has them.

    Args:
      model: serialized.
      ends: ids of the tokens that end a response.
      where: the file, for messages.

    Raises:
      BoostError: as `checked_types`; or the bytes are not a SentencePiece model.
    """
    proto = sentencepiece().ModelProto()
    try:
        proto.ParseFromString(model)
    except Exception as error:  # of protobuf, which has several implementations
        raise BoostError(f"{where} is not a SentencePiece model: {error}") from error
    pieces, spec = [p.piece for p in proto.pieces], proto.trainer_spec
    ids = {piece: i for i, piece in enumerate(pieces)}
    specials = [ids.get(name, -1) for name in (spec.pad_piece, spec.bos_piece, spec.eos_piece)]
    types = checked_types(
        pieces, [p.type for p in proto.pieces], specials, ids.get(spec.unk_piece, -1), ends, where
    )
    if types == [p.type for p in proto.pieces]:
        return model
    for piece, kind in zip(proto.pieces, types, strict=True):
        piece.type = kind
    return proto.SerializeToString()
