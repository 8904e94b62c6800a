"""Creates the labeler that label.labeler names."""

from collections.abc import Callable
from typing import NamedTuple

from etils import epath

from boostlm.config import Config
from boostlm.engine.learner import LanguageLearner
from boostlm.engine.prompt_table import PromptTable
from boostlm.engine.tokenizer import Tokenizer
from boostlm.errors import BoostError
from boostlm.labelers.base import Labeler, in_form
from boostlm.labelers.endpoint import endpoint_labeler
from boostlm.labelers.frozen_model import frozen_model_labeler
from boostlm.labelers.people import people_labeler
from boostlm.labelers.simulated import reference_labeler, simulated_labeler
from boostlm.lm.language_model import Params
from boostlm.runtime.multihost import iterate_on_host0
from boostlm.tasks.base import Task
from boostlm.user_code import load_named


class LabelerContext(NamedTuple):
    """The inputs for making a labeler.

    Attributes:
      config: the run's config.
      task: the task whose training prompts are labeled.
      tokenizer: the model's tokenizer.
      prompts: the tokenized training prompts.
      learner: samples and trains the model.
      seed_params: parameters of the seed model.
      people_folder: the run directory's folder for people's answers.
      spent: returns the cost of all labels of the run so far, in the config's unit.
    """

    config: Config
    task: Task
    tokenizer: Tokenizer
    prompts: PromptTable
    learner: LanguageLearner
    seed_params: Params
    people_folder: epath.Path
    spent: Callable[[], float]


def make_labeler(context: LabelerContext) -> Labeler:
    """The labeler that the config names: one of `config.LABELERS`, or FILE.py:NAME.

    NAME is a function of a `LabelerContext` that returns a `Labeler`.

    Raises:
      BoostError: the file or the name is missing, or the call fails.
    """
    config, task = context.config, context.task
    match config.label.labeler:
        case "simulated":
            return simulated_labeler(config.label, task.answer_key("train"))
        case "reference":
            return reference_labeler(config.label, task.answer_key("train"))
        case "frozen_model":
            return frozen_model_labeler(
                config,
                context.learner,
                context.seed_params,
                context.prompts,
                context.tokenizer,
                task.stop_strings,
            )
        case "people":
            outside = people_labeler(context.people_folder, config.label.cost)
        case "endpoint":
            outside = endpoint_labeler(config, context.spent)
        case _:
            outside = _own_labeler(context)
    # Host 0 asks for all hosts, and the task converts each text to a response.
    return in_form(lambda queries: iterate_on_host0(outside(queries)), task.response_of)


def _own_labeler(context: LabelerContext) -> Labeler:
    name = context.config.label.labeler
    make = load_named(name, "label.labeler")
    if not callable(make):
        raise BoostError(f"label.labeler: {name} is not a function of a LabelerContext")
    try:
        labeler = make(context)
    except BoostError:
        raise
    except Exception as error:
        raise BoostError(f"label.labeler: {name} fails: {type(error).__name__}: {error}") from error
    if not callable(labeler):
        raise BoostError(f"label.labeler: {name} returned {labeler!r}, not a labeler")
    return labeler
