"""boostlm: fine-tune a language model in rounds on its own output, curated by boosting.

The public names are pure functions over JAX arrays, and the structs that they take. Each docstring
gives shapes and source. `import boostlm` does not import JAX; the first use of a name does.

  curation_round, initial_state, ARMS, Arm, Curation, RoundFns, RoundState, Labels, LabelRequest,
  TrainingSet
                                               one round of curation, for any learner
  reweight, initial_log_weights, theta_from_beta   difficulty weights over prompts
  allocate, expand                             an exact label budget; fixed-shape compaction
  noisy_verdict, failing, mix, draw, Mixture   filter and mix
  generate, SamplingParams, Responses, row_keys    sampling with a key-value cache, one key a row
  LanguageModel, decoder_lm                    the functions that sampling and training need
  weighted_loss, train_step, jit_train_step, pmap_train_step, Batch, TrainState
  theory, ideal_learner                        closed forms, and the same by Monte Carlo

Shapes are part of names: tokens_NxKxR has shape [N, K, R].
  N prompts of a split      K responses a prompt        B rows or prompts at once
  P prompt tokens           R response tokens           T tokens of a complete row (P + R)
  L labels a round          C places of a fixed-shape list of unknown length
  V vocabulary              E model width               H heads, G key-value heads, D head width
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boostlm.curation import ideal_learner as ideal_learner
    from boostlm.curation import theory as theory
    from boostlm.curation.allocate import allocate as allocate
    from boostlm.curation.arms import ARMS as ARMS
    from boostlm.curation.arms import Arm as Arm
    from boostlm.curation.difficulty import initial_log_weights as initial_log_weights
    from boostlm.curation.difficulty import reweight as reweight
    from boostlm.curation.difficulty import theta_from_beta as theta_from_beta
    from boostlm.curation.mixture import Mixture as Mixture
    from boostlm.curation.mixture import draw as draw
    from boostlm.curation.mixture import failing as failing
    from boostlm.curation.mixture import mix as mix
    from boostlm.curation.mixture import noisy_verdict as noisy_verdict
    from boostlm.curation.round import Curation as Curation
    from boostlm.curation.round import LabelRequest as LabelRequest
    from boostlm.curation.round import Labels as Labels
    from boostlm.curation.round import RoundFns as RoundFns
    from boostlm.curation.round import RoundState as RoundState
    from boostlm.curation.round import TrainingSet as TrainingSet
    from boostlm.curation.round import curation_round as curation_round
    from boostlm.curation.round import initial_state as initial_state
    from boostlm.lm.decoder import decoder_lm as decoder_lm
    from boostlm.lm.generate import Responses as Responses
    from boostlm.lm.generate import generate as generate
    from boostlm.lm.language_model import LanguageModel as LanguageModel
    from boostlm.lm.token_sampling import SamplingParams as SamplingParams
    from boostlm.lm.train_step import Batch as Batch
    from boostlm.lm.train_step import TrainState as TrainState
    from boostlm.lm.train_step import jit_train_step as jit_train_step
    from boostlm.lm.train_step import pmap_train_step as pmap_train_step
    from boostlm.lm.train_step import train_step as train_step
    from boostlm.lm.train_step import weighted_loss as weighted_loss
    from boostlm.numerics import expand as expand
    from boostlm.prng import row_keys as row_keys

# Where each public name is defined, for `__getattr__`. A test holds it equal to the list above.
_NAMES_OF = {
    "boostlm.curation": "ideal_learner theory",
    "boostlm.curation.allocate": "allocate",
    "boostlm.curation.arms": "ARMS Arm",
    "boostlm.curation.difficulty": "initial_log_weights reweight theta_from_beta",
    "boostlm.curation.mixture": "Mixture draw failing mix noisy_verdict",
    "boostlm.curation.round": "Curation LabelRequest Labels RoundFns RoundState "
    "TrainingSet curation_round initial_state",
    "boostlm.lm.decoder": "decoder_lm",
    "boostlm.lm.generate": "Responses generate",
    "boostlm.lm.language_model": "LanguageModel",
    "boostlm.lm.token_sampling": "SamplingParams",
    "boostlm.lm.train_step": "Batch TrainState jit_train_step pmap_train_step train_step "
    "weighted_loss",
    "boostlm.numerics": "expand",
    "boostlm.prng": "row_keys",
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names.split()}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    """Imports the module of a public name when it is first used (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'boostlm' has no attribute {name!r}")
    module = _MODULE_OF[name]
    if module == "boostlm.curation":
        value = importlib.import_module(f"{module}.{name}")
    else:
        value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return [*globals(), *(name for name in _MODULE_OF if name not in globals())]
