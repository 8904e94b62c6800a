"""boostlm: fine-tune a language model on its own output without collapse, by curation.

The public primitives, all pure functions over JAX arrays; each docstring gives shapes and source:

  generate, TokenRule, Responses, row_keys     sampling with a key-value cache, one key a row
  LanguageModel, decoder_lm                    the model functions that sampling and training take
  reweight, initial_log_weights, theta_from_beta   difficulty weights over prompts
  allocate, expand                             an exact label budget; fixed-shape compaction
  noisy_verdict, failing, mix, draw, Mixture   filter and mix
  weighted_loss, train_step, jit_train_step, pmap_train_step, Batch, TrainState
  curation_round, initial_state, ARMS, Arm, Curation, RoundFns, RoundState, Labels, LabelRequest
  theory, ideal_learner                        closed forms, and the same by Monte Carlo

Shapes are in the names: tokens_NxKxR is [N, K, R].
  N prompts of a split      K responses a prompt        B rows or prompts at once
  P prompt tokens           R response tokens           T tokens of a whole row (P + R)
  L labels a round          C places of a fixed-shape list of unknown length
  V vocabulary              E model width               H heads, G key-value heads, D head width
"""

from boostlm.curation import ideal_learner

from boostlm.curation import theory
from boostlm.curation.allocate import allocate, expand
from boostlm.lm.decoder import decoder_lm
from boostlm.curation.difficulty import initial_log_weights, reweight, theta_from_beta
from boostlm.lm.generate import Responses, generate
from boostlm.lm.language_model import LanguageModel
from boostlm.curation.mixture import Mixture, draw, failing, mix, noisy_verdict
from boostlm.prng import row_keys
from boostlm.curation.round import (
    ARMS,
    Arm,
    Curation,
    LabelRequest,
    Labels,
    RoundFns,
    RoundState,
    curation_round,
    initial_state,
)
from boostlm.lm.token_sampling import TokenRule
from boostlm.lm.train_step import (
    Batch,
    TrainState,
    jit_train_step,
    pmap_train_step,
    train_step,
    weighted_loss,
)

__all__ = [
    "ARMS",
    "Arm",
    "Batch",
    "Curation",
    "LabelRequest",
    "Labels",
    "LanguageModel",
    "Mixture",
    "Responses",
    "RoundFns",
    "RoundState",
    "TokenRule",
    "TrainState",
    "allocate",
    "curation_round",
    "decoder_lm",
    "draw",
    "expand",
    "failing",
    "generate",
    "ideal_learner",
    "initial_log_weights",
    "initial_state",
    "jit_train_step",
    "mix",
    "noisy_verdict",
    "pmap_train_step",
    "reweight",
    "row_keys",
    "theory",
    "theta_from_beta",
    "train_step",
    "weighted_loss",
]
