"""How often a run executes each of its programs."""

from boostlm.aot.programs import RunPrograms
from boostlm.aot.roofline import Work
from boostlm.config import Config
from boostlm.experiment.run import planned_stages


def workload(config: Config, programs: RunPrograms, response_tokens: float | None) -> list[Work]:
    """The work of all seeds, arms and rounds.

    Assumed: every prompt is as long as the longest, every row is always in use, and loading,
    verifying and saving take no time. Only labels of the frozen model take time. Training a seed
    model from scratch counts as more rows of the rounds' own steps.

    Args:
      config: the run's config.
      programs: the programs that it runs.
      response_tokens: mean length of a response; None for the limit, which is an upper bound.
    """
    stages, sample, step = planned_stages(config), config.sample, config.train.optimizer
    length = response_tokens or sample.max_new_tokens
    per_round = {
        "sample": config.data.train_prompts * sample.k,
        "label": config.label.budget * (config.label.labeler == "frozen_model"),
        "evaluate": config.data.eval_prompts * sample.eval_k,
    }
    work = []
    for name, responses in per_round.items():
        responses *= stages[name]
        greedy = stages[name] * config.data.eval_prompts if name == "evaluate" else 0
        work.append(
            Work(
                name,
                {
                    "prefill": responses / sample.k / programs.prefill.rows,
                    "decode": responses * length / programs.decode.rows,
                    "greedy_prefill": greedy / programs.greedy_prefill.rows,
                    "greedy_decode": greedy * length / programs.greedy_decode.rows,
                },
                (responses + greedy) * length,
            )
        )
    steps = stages["train"] * step.steps
    if not config.seed_model.path:
        seed = config.seed_model.optimizer
        steps += stages["seed model"] * seed.steps * seed.batch_size / step.batch_size
    work.append(Work("train", {"train": steps}, steps * programs.train.tokens))
    return work
