"""What a server's response to a chat-completions request means. Pure functions.

A response is a `Completion`, which may hold no answer, or a `Fault` that says whose it is.
"""

import email.utils
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from enum import Enum
from typing import Any

from boostlm.labelers.base import CUT_OFF, NO_TEXT

_MOST_SAID = 300  # characters that are kept of a server's message
_MOST_TOKENS = 10**12  # a larger count is not believed

# Statuses besides 5xx that may pass, and those that may be the fault of a single prompt.
_MAY_PASS = frozenset({408, 409, 424, 425, 429})
_OF_PROMPT = frozenset({400, 413, 414, 422, 431, 451})
_MODERATED = re.compile(r"moderat|flagged|content.?(filter|policy)|safety", re.IGNORECASE)

# Values of finish_reason. Servers that speak the protocol add their own to OpenAI's.
_CUT = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
_FILTERED = frozenset({"content_filter", "safety", "recitation", "prohibited_content", "refusal"})
_TOOLS = frozenset({"tool_calls", "tool_call", "tool_use", "function_call"})
_BROKEN = frozenset({"error", "abort", "aborted", "cancelled", "insufficient_system_resource"})
_TEXT_PARTS = frozenset({None, "text", "output_text"})  # types of the parts of a list of content


class Blame(Enum):
    """Who is to blame for a missing completion."""

    SERVER = "the server's; it may pass, and if it lasts the run stops"
    REPLY = "the reply's; it may pass, and if it lasts the prompt has no answer"
    PROMPT = "the prompt's, unless every prompt is refused; asking again is useless"
    SETTINGS = "the user's; no prompt will be answered"


@dataclass(frozen=True)
class Completion:
    """A server's answer.

    Attributes:
      text: the answer, or the part of it that came if it is unanswered.
      unanswered: why the answer is missing or incomplete; "" if it is complete.
      usage: (prompt tokens, response tokens), or None if the server does not count them.
    """

    text: str
    unanswered: str
    usage: tuple[int, int] | None


@dataclass(frozen=True)
class Fault:
    """Why a response is not a completion.

    Attributes:
      blame: what to do about it.
      said: what the server said, in one line.
      usage: as in `Completion`; servers count what they refuse, too.
      wait: seconds that the server asks to wait, or None.
    """

    blame: Blame
    said: str
    usage: tuple[int, int] | None = None
    wait: float | None = None


def read_completion(
    body: bytes, answered: bool, message_of: Callable[[Any], str]
) -> Completion | Fault:
    """The first choice of the body of a response with status 200.

    Args:
      body: JSON, as servers write it.
      answered: whether the server has sent a completion before.
      message_of: see `server_message`; it may also mask secrets.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        # Nothing, or half an object, is a damaged reply; a web page comes from a wrong address.
        damaged = answered or body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"", b"{")
        blame = Blame.REPLY if damaged else Blame.SETTINGS
        return Fault(blame, f"no chat completion: {message_of(body)}")
    usage = _usage_of(answer.get("usage"))
    if error := answer.get("error"):
        return _fault_of_error(error, usage, message_of)
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return Fault(Blame.REPLY, f"no choices: {message_of(answer)}", usage)
    finish = str(choice.get("finish_reason") or "").lower()
    if choice.get("error") or finish in _BROKEN:
        return _fault_of_error(choice.get("error") or finish, usage, message_of)
    message = choice.get("message")
    if not isinstance(message, dict) or (text := _text_of(message.get("content"))) is None:
        return Fault(Blame.REPLY, f"no message: {message_of(answer)}", usage)
    unanswered = _why_no_answer(message, finish, text, message_of)
    return Completion(text if _is_unicode(text) else "", unanswered, usage)


def fault_of_status(status: int, body: bytes, message_of: Callable[[Any], str]) -> Fault:
    """The fault that a status other than 200 stands for."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = body
    said = message_of(answer)
    if status in _MAY_PASS or status >= 500:
        return Fault(Blame.SERVER, said)
    moderated = isinstance(answer, dict) and _MODERATED.search(json.dumps(answer))
    if status in _OF_PROMPT or (status == 403 and moderated):
        return Fault(Blame.PROMPT, said)
    return Fault(Blame.SETTINGS, said)


def server_message(answer: Any) -> str:
    """What a server says, as one printable line; `answer` is bytes or parsed JSON."""
    if isinstance(answer, bytes):
        answer = answer[: 16 * _MOST_SAID].decode(errors="replace")
    elif isinstance(answer, dict):
        found = answer.get("error") or answer
        if isinstance(found, dict):
            found = found.get("message") or found.get("detail") or found
        answer = found
    text = answer if isinstance(answer, str) else json.dumps(answer)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text or "empty response"


def cut(message: str) -> str:
    """A server's message, no longer than a line of the ledger should be."""
    return message[:_MOST_SAID]


def retry_after(value: str | None, now: float) -> float | None:
    """The seconds to wait that a Retry-After header asks for; None if it says nothing usable.

    Args:
      value: seconds or a date, as the standard says, or a Unix time in seconds or milliseconds.
      now: Unix time.
    """
    value = (value or "").strip()
    if re.fullmatch(r"[0-9]{1,15}(\.[0-9]*)?", value):
        seconds = float(value)
        if seconds > 1e11:
            seconds /= 1000
        return max(0.0, seconds - now) if seconds > 1e9 else seconds
    try:
        date = email.utils.parsedate_to_datetime(value)
        return max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _fault_of_error(
    error: Any, usage: tuple[int, int] | None, message_of: Callable[[Any], str]
) -> Fault:
    """The fault of an error in a body with status 200; its code counts as the status."""
    code = str(error.get("code")) if isinstance(error, dict) else ""
    said = message_of({"error": error})
    if not re.fullmatch("[45][0-9][0-9]", code):
        return Fault(Blame.REPLY, f"an error: {said}", usage)
    fault = fault_of_status(int(code), json.dumps({"error": error}).encode(), message_of)
    return Fault(fault.blame, f"error {code}: {said}", usage)


def _text_of(content: Any) -> str | None:
    """The text of a message's content; None if it has no known form."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list) else [content]
    texts = []
    for part in parts:
        if isinstance(part, dict) and part.get("type") not in _TEXT_PARTS:
            continue  # reasoning, an image, a refusal
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            return None
        texts.append(text)
    return "".join(texts)


def _why_no_answer(
    message: dict[str, Any], finish: str, text: str, message_of: Callable[[Any], str]
) -> str:
    """Why a message holds no whole answer; "" if it does."""
    if finish in _CUT:
        return CUT_OFF
    if finish in _FILTERED:
        return f"filtered by the server ({finish})"
    if finish in _TOOLS:
        return f"{NO_TEXT}: the model calls a tool"
    if not text.strip():
        if refusal := message.get("refusal") or _refusal_in(message.get("content")):
            return f"the model refused: {message_of(refusal)}"
        if message.get("tool_calls") or message.get("function_call"):
            return f"{NO_TEXT}: the model calls a tool"
        thought = any(message.get(key) for key in ("reasoning_content", "reasoning", "thinking"))
        thought = thought or isinstance(message.get("content"), list)
        return f"{NO_TEXT}: reasoning only" if thought else NO_TEXT
    return "" if _is_unicode(text) else "half a character: the text is not Unicode"


def _refusal_in(content: Any) -> Any:
    parts = content if isinstance(content, list) else []
    return next((p["refusal"] for p in parts if isinstance(p, dict) and p.get("refusal")), None)


def _is_unicode(text: str) -> bool:
    """False if it holds a lone surrogate, which the ledger could not."""
    return not re.search("[\ud800-\udfff]", text)


def _usage_of(usage: Any) -> tuple[int, int] | None:
    if not isinstance(usage, dict):
        return None
    prompt: Any = usage.get("prompt_tokens")
    response: Any = usage.get("completion_tokens")
    good = all(type(n) is int and 0 <= n < _MOST_TOKENS for n in (prompt, response))
    return (prompt, response) if good else None
