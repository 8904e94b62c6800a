"""boostlm plan: the rounds and labels that a target error needs, by the theory."""

from boostlm.curation import theory
from boostlm.errors import BoostError


def describe_plan(
    *,
    beta: float,
    start: float,
    target_error: float,
    budget: int,
    prompts: int,
    miss_rate: float = 0.0,
    false_accept_rate: float = 0.0,
) -> str:
    """The output of `boostlm plan`: the predicted curve and the total rounds and labels.

    Raises:
      BoostError: an argument is out of range.
    """
    rates = {"start": start, "miss-rate": miss_rate, "false-accept-rate": false_accept_rate}
    for name, rate in rates.items():
        if not 0 <= rate <= 1:
            raise BoostError(f"--{name} {rate} is not in [0, 1]")
    for name, rate in {"beta": beta, "target-error": target_error}.items():
        if not 0 < rate < 1:
            raise BoostError(f"--{name} {rate} is not in (0, 1)")
    for name, count in {"budget": budget, "prompts": prompts}.items():
        if count < 1:
            raise BoostError(f"--{name} {count} is below 1")
    steps = theory.plan_to_target(
        beta=beta,
        start=start,
        target_error=target_error,
        budget=budget,
        prompts=prompts,
        miss_rate=miss_rate,
        false_accept_rate=false_accept_rate,
    )
    reached = steps.unsolved[-1] <= target_error
    lines = ["round  error   labels so far"]
    spent = [sum(steps.labels[:r]) for r in range(steps.rounds + 1)]
    shown = sorted({*range(min(steps.rounds, 20) + 1), steps.rounds})
    for r in shown:
        if r > 21 and r == shown[-1]:
            lines.append("  ...")
        bar = "#" * round(40 * steps.unsolved[r])
        lines.append(f"{r:5d}  {steps.unsolved[r]:.4f} {spent[r]:9d}  {bar}")
    if reached:
        lines.append(
            f"\nerror {target_error:g} takes {steps.rounds} rounds and {spent[-1]} labels "
            f"(about {beta * spent[-1]:.0f} of them correct)"
        )
    else:
        rest = 1 - theory.boosting_fixed_point(beta, miss_rate, false_accept_rate)
        lines.append(
            f"\nerror {target_error:g} is out of reach: with this filter and these labels the "
            f"error converges to {rest:.4f}. A better filter or a larger beta would lower it"
        )
    lines.append(
        "This assumes an ideal learner without transfer between prompts. A model that generalises\n"
        "needs fewer labels; a model that forgets needs more."
    )
    return "\n".join(lines)
