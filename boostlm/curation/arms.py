"""The arms: ways of curating, each a value of independent choices, and presets of the literature.

An arm is written the same way everywhere, in a config, on the command line and in the report:

  boosting                             a preset
  boosting(label.beta=0.1,own=one)     a preset with other choices or settings
  Arm(own=all,labels=easiest)          choices on their own
  FILE.py:NAME                         an `Arm` of a Python file
  gentle=boosting(label.beta=0.1)      any of these under a name
"""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from boostlm.errors import BoostError
from boostlm.user_code import FILE_AND_NAME, load_named

OWN = ("accepted", "all", "one", "none")
LABELS = ("none", "uniform", "failing", "hardest", "easiest", "static")
START = ("last", "seed")
DATA = ("round", "all")

_WRITTEN = re.compile(r"(?:([A-Za-z][\w.-]*(?:\(.*\))?)=)?([^()=]+)(?:\((.*)\))?", re.DOTALL)
_NAME = re.compile(r"[A-Za-z][\w.-]*(\(.*\))?", re.DOTALL)
_SAFE = re.compile(r"[\w.=,+-]+(\([\w.=,+-]+\))?", re.ASCII)
_LONGEST = 100  # characters of a folder's name
_SECTIONS = ("label.", "filter.", "sample.", "train.")
# What the programs of all arms share, or the evaluation that compares them.
_SHARED = ("sample.max_new_tokens", "sample.batch_size", "sample.eval_k")


@dataclass(frozen=True)
class Arm:
    """A way of curating.

    Attributes:
      own: the own responses to train on: "accepted" by the filter, "all", "one" accepted response
        a prompt, or "none".
      labels: where labels go. "none": nowhere; "uniform": over all prompts; "failing": over those
        that fail, alike; "hardest": over those that fail, by difficulty weight; "easiest": by its
        inverse; "static": over those that the seed model failed, alike, in every round. Or
        FILE.py:NAME, a function (weight_N, failures_N, accepted_NxK) -> share_N in JAX: the
        difficulty weights and the failed rounds of each prompt, this one included, the filter's
        verdicts, and what the prompt's labels are in proportion to.
      weigh_training: training examples weigh as much as their prompts' difficulty weights.
      start: the model that a round trains: the "last" one or the "seed" model.
      data: what it trains on: the examples of this "round", or of "all" rounds so far.
      as_many_as: the name of another arm. In each round, buy as many labels as that arm kept; ""
        buys `label.budget`.
      overrides: settings of label, filter, sample and train for this arm alone, as
        {"label.beta": 0.1}. Kept as (name, text) pairs in order.
      name: in the report and the ledger; "": as the arm is written.

    Raises:
      BoostError: a choice is unknown, or two contradict each other.

    Example:
      >>> boostlm.ARMS["boosting"].labels
      'hardest'
      >>> print(boostlm.Arm(labels="easiest", overrides={"label.beta": 0.1}))
      Arm(labels=easiest,label.beta=0.1)
    """

    own: str = "accepted"
    labels: str = "none"
    weigh_training: bool = False
    start: str = "last"
    data: str = "round"
    as_many_as: str = ""
    overrides: Mapping[str, object] | tuple[tuple[str, str], ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        settings = dict(self.overrides)
        texts = {key: _as_text(value) for key, value in settings.items()}
        object.__setattr__(self, "overrides", tuple(sorted(texts.items())))
        object.__setattr__(self, "name", self.name or f"Arm({self._choices()})")
        if problem := _what_is_wrong(self):
            raise BoostError(f"arms: {self.name}: {problem}")

    @property
    def settings(self) -> dict[str, str]:
        """The overrides, as a dict."""
        return {name: str(text) for name, text in dict(self.overrides).items()}

    def _choices(self) -> str:
        """What differs from `Arm()`, as it is written between parentheses."""
        fields = [f for f in dataclasses.fields(self) if f.name not in ("overrides", "name")]
        values = {f.name: getattr(self, f.name) for f in fields}
        changed = {f.name: values[f.name] for f in fields if values[f.name] != f.default}
        return ",".join(f"{k}={_as_text(v)}" for k, v in (changed | self.settings).items())

    def __str__(self) -> str:
        """The arm as it is written; `parse_arm` gives the same arm, without any file."""
        try:
            if parse_arm(self.name) == self:
                return self.name
        except BoostError:
            pass  # a name of its own
        return f"{self.name}=Arm({self._choices()})"


def _what_is_wrong(arm: Arm) -> str:
    """Why an arm cannot be run; "" if it can."""
    for field, known in (("own", OWN), ("start", START), ("data", DATA)):
        if (value := getattr(arm, field)) not in known:
            return f"{field} is {value!r}; choose from {', '.join(known)}"
    if arm.labels not in LABELS and FILE_AND_NAME.fullmatch(arm.labels) is None:
        known = ", ".join(LABELS)
        return f"labels is {arm.labels!r}; choose from {known}, or name a function as FILE.py:NAME"
    if _NAME.fullmatch(arm.name) is None or arm.name.startswith("shared"):
        return "a name has letters, digits and . _ -, and begins with a letter, not with 'shared'"
    for name in arm.settings:
        if not name.startswith(_SECTIONS):
            return f"{name} is neither a choice nor a setting of label, filter, sample or train"
        if name in _SHARED:
            return f"{name} must be the same for all arms"
    if arm.labels == "none":
        if arm.own == "none":
            return "it trains on nothing: neither on own responses nor on labels"
        if arm.as_many_as:
            return f"it buys no labels, so not as many as {arm.as_many_as} kept"
        idle = [n for n in arm.settings if n.startswith("label.") or n == "train.alpha"]
        idle = [n for n in idle if n != "label.beta" or not arm.weigh_training]
        if idle:
            return f"{idle[0]} changes nothing, because it buys no labels"
    if arm.as_many_as and "label.budget" in arm.settings:
        return f"label.budget contradicts as_many_as: {arm.as_many_as} sets how many it buys"
    return ""


def parse_arm(text: str) -> Arm:
    """The arm that is written so.

    Raises:
      BoostError: no arm is written so, its file does not run, or it contradicts itself.

    Example:
      >>> from boostlm.curation.arms import parse_arm
      >>> parse_arm("low=boosting(label.budget=8)")
      Arm(own='accepted', labels='hardest', ..., overrides=(('label.budget', '8'),), name='low')
    """
    text = text.strip()
    if text in ARMS:
        return ARMS[text]
    match = _WRITTEN.fullmatch(text)
    name, base, inside = match.groups() if match else (None, text, None)
    base = base.strip()
    if FILE_AND_NAME.fullmatch(base):
        arm = load_named(base, "arms")
        if not isinstance(arm, Arm):
            raise BoostError(f"arms: {base} is {arm!r}, not an Arm")
        own_name = base.rpartition(":")[2] if arm.name.startswith("Arm(") else arm.name
    elif base == "Arm" or base in ARMS:
        arm, own_name = ARMS.get(base, Arm()), base
    else:
        raise BoostError(
            f"arms: {text!r} unknown; choose from {', '.join(ARMS)}, or write "
            "boosting(label.beta=0.1), Arm(own=all,labels=uniform) or FILE.py:NAME"
        )
    changes, settings = {}, arm.settings
    for part in split_list(inside or ""):
        key, equals, value = (x.strip() for x in part.partition("="))
        if not equals or not value:
            raise BoostError(f"arms: {text}: write {key or part}=VALUE")
        if key in changes or (key in settings and key not in arm.settings):
            raise BoostError(f"arms: {text}: {key} is given twice")
        if key == "weigh_training":
            if value.lower() not in ("true", "false"):
                raise BoostError(f"arms: {text}: weigh_training takes true or false, not {value}")
            changes[key] = value.lower() == "true"
        elif key in ("own", "labels", "start", "data", "as_many_as"):
            changes[key] = value
        else:
            settings[key] = value
    if not changes and settings == arm.settings:
        written = own_name if base != "Arm" else ""
    else:
        written = f"{own_name}({','.join(split_list(inside or ''))})"
    return dataclasses.replace(arm, **changes, overrides=settings, name=name or written)


def split_list(text: str) -> list[str]:
    """The parts between commas, without those inside brackets or quotes, and without blanks.

    Example:
      >>> from boostlm.curation.arms import split_list
      >>> split_list("uniform, boosting(own=one,data=all)")
      ['uniform', 'boosting(own=one,data=all)']
    """
    parts, depth, quoted = [""], 0, False
    for c in text:
        quoted ^= c == '"'
        depth += (c in "([{") - (c in ")]}") if not quoted else 0
        if c == "," and depth <= 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += c
    return [part.strip() for part in parts if part.strip()]


def folder_of(arm: str) -> str:
    """An arm's folder: its name if a folder can have it, otherwise a safe part of it and a hash.

    Example:
      >>> from boostlm.curation.arms import folder_of
      >>> folder_of("boosting"), folder_of("boosting(label.beta=0.1)")
      ('boosting', 'boosting+label.beta=0.1')
    """
    safe = re.sub(r"[^\w.=,+-]", "-", arm.replace("(", "+").removesuffix(")"), flags=re.ASCII)
    if _SAFE.fullmatch(arm) and len(safe) <= _LONGEST:
        return safe
    return f"{safe[: _LONGEST - 9]}-{hashlib.sha256(arm.encode()).hexdigest()[:8]}"


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


def _named(**arms: Arm) -> dict[str, Arm]:
    return {name: dataclasses.replace(arm, name=name) for name, arm in arms.items()}


_RIGHT = {"label.labeler": "reference", "label.filter_labels": False}

ARMS = _named(
    do_nothing=Arm(own="all"),
    filter_only=Arm(),
    uniform=Arm(labels="uniform"),
    boosting=Arm(labels="hardest"),
    one_per_prompt=Arm(own="one"),
    uniform_failing=Arm(labels="failing"),
    boosting_training=Arm(labels="failing", weigh_training=True),
    boosting_both=Arm(labels="hardest", weigh_training=True),
    hardest_static=Arm(labels="static"),
    star=Arm(own="one", start="seed"),
    rest_em=Arm(start="seed"),
    self_distill=Arm(
        own="all",
        overrides={"sample.temperature": 0.6, "sample.top_k": 20, "sample.top_p": 0.95},
    ),
    accumulate=Arm(own="all", data="all"),
    supervised=Arm(
        own="none",
        labels="uniform",
        start="seed",
        data="all",
        as_many_as="boosting",
        overrides=_RIGHT,
    ),
    oracle=Arm(labels="hardest", overrides=_RIGHT),
)
"""The presets, by name, with their sources.

- do_nothing: trains on all own samples, unfiltered (the baseline of arXiv 2502.08924)
- filter_only: on the accepted ones (RAFT, 2304.06767; RFT, 2308.01825)
- uniform: filter_only, and labels spread over all prompts
- boosting: filter_only, and labels on the failing prompts by difficulty (2502.08924)
- one_per_prompt: filter_only with one accepted response a prompt
- uniform_failing: boosting without difficulty weights (theta 0)
- boosting_training: the weights act on training, as one reading of 2502.08924 has it
- boosting_both: they act on labels and on training
- hardest_static: labels on what the seed model failed (Hard Examples, 2508.14094)
- star: one accepted response a prompt, from the seed model each round, without hints (STaR,
  2203.14465)
- rest_em: filter_only from the seed model each round (ReST-EM, 2312.06585)
- self_distill: do_nothing from sharpened samples (SSD, 2604.01193, which does one round)
- accumulate: do_nothing on the data of all rounds (2404.01413)
- supervised: from the seed model on as many right labels as boosting kept, and nothing else: is it
  the method, or the additional data?
- oracle: boosting with labels that are all right

Example:
  >>> list(boostlm.ARMS)[:4]
  ['do_nothing', 'filter_only', 'uniform', 'boosting']
  >>> boostlm.ARMS["star"]
  Arm(own='one', labels='none', weigh_training=False, start='seed', ..., name='star')
"""
