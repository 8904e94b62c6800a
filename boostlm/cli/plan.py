"""boostlm plan: the rounds and labels that a target takes, simulated for an ideal learner."""

import argparse
from collections.abc import Iterable, Mapping

import numpy as np

from boostlm.config import Config, FilterConfig, LabelConfig, SampleConfig, TrainConfig
from boostlm.config_io import arm_config, arms_of
from boostlm.curation.arms import Arm, split_list
from boostlm.curation.planning import RUNS, PlannedRun, PlanSettings, plan_arm, spread_rates
from boostlm.errors import BoostError
from boostlm.report.label_rate import measured_rate
from boostlm.report.run_data import RunData
from boostlm.statistics.prior import draw_prior, draw_rates, fit_prior
from boostlm.storage.run_dir import RunDir

_MOST_PROMPTS = 10_000  # simulated at most; the budget is scaled down in proportion
_BUDGETS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the frontier, as multiples of the run's budget
_ASSUMES = (
    "Assumed: an ideal learner. It reproduces its training data exactly, and nothing that it\n"
    "learns about one prompt helps with another. A model that generalises needs fewer labels,\n"
    "one that forgets needs more."
)


def plan(args: argparse.Namespace) -> Iterable[str]:
    """The lines that `boostlm plan` prints."""
    arms = arms_of(Config(arms=tuple(split_list(args.arms))))
    _check_ranges(args)
    if args.run_dir is not None:
        return _from_run(args, arms)
    return _from_options(args, arms)


def _settings(args: argparse.Namespace, config: Config, arm: Arm, beta: float) -> PlanSettings:
    """What a plan of an arm assumes.

    Args:
      args: the options; `--beta` also says what the reweighting assumes.
      config: the settings, without the arm's own.
      arm: the way of curating.
      beta: fraction of right labels.
    """
    own = arm_config(config, arm)
    if "label.beta" in arm.settings and own.label.labeler == "simulated":
        beta = own.label.beta
    return PlanSettings(
        beta=1.0 if own.label.labeler == "reference" else beta,
        budget=own.label.budget,
        k=own.sample.k,
        alpha=own.train.alpha,
        miss_rate=own.filter.miss_rate,
        false_accept_rate=own.filter.false_accept_rate,
        filter_labels=own.label.filter_labels,
        assumed_beta=own.label.beta,
    )


def _from_options(args: argparse.Namespace, arms: Mapping[str, Arm]) -> Iterable[str]:
    missing = [f"--{n}" for n in ("beta", "target-error", "budget", "prompts")
               if getattr(args, n.replace("-", "_")) is None]  # fmt: skip
    if missing:
        raise BoostError(f"give {', '.join(missing)}, or the directory of a run to plan from")
    shown = min(args.prompts, _MOST_PROMPTS)
    scale = shown / args.prompts
    config = Config(
        sample=SampleConfig(k=args.k),
        filter=FilterConfig(args.miss_rate, args.false_accept_rate),
        label=LabelConfig(
            beta=args.beta,
            budget=args.budget,
            filter_labels=not args.unfiltered,
        ),
        train=TrainConfig(alpha=args.alpha),
    )
    spreads = (0.0, 1.0) if args.start_spread is None else (args.start_spread,)
    kind = "unfiltered" if args.unfiltered else "filtered"
    yield (
        f"Target error {args.target_error:g} from {1 - args.start:g}: {args.prompts:,} prompts, "
        f"k = {args.k}, {args.budget:,} {kind} labels a round, {args.beta:.0%} of them right"
    )
    yield ""
    width = max(12, *map(len, arms))
    yield f"{'arm':<{width}} spread of p      rounds            labels       error at the end"
    done: dict[tuple[str, float], list[PlannedRun]] = {}
    for name, arm in arms.items():
        settings = _settings(args, config, arm, args.beta)
        settings = settings._replace(budget=max(1, round(settings.budget * scale)))
        for spread in spreads:
            done[name, spread] = plan_arm(
                arm,
                settings,
                np.tile(spread_rates(args.start, spread, shown), (RUNS, 1)),
                target_error=args.target_error,
                as_many_as=done.get((arm.as_many_as, spread)),
            )
            yield _line(f"{name:<{width}}", spread, done[name, spread], args, 1 / scale)
    yield ""
    if args.start_spread is None:
        yield (
            "Accuracy alone does not determine a plan. The lines show the two extremes: all\n"
            "prompts alike (spread 0), and each prompt always or never answered correctly\n"
            "(spread 1). Set a value between them with --start-spread, or name a run directory,\n"
            "to which it is fitted."
        )
    yield _ASSUMES
    yield f"Each range spans {RUNS} simulated runs."


def _line(
    name: str, spread: float, runs: list[PlannedRun], args: argparse.Namespace, scale: float
) -> str:
    """One arm's runs, in columns."""
    rounds = [run.reached(args.target_error) for run in runs]
    errors = [float(run.error_R[-1]) for run in runs]
    row = f"{name} {spread:<12g}"
    if any(r is None for r in rounds):
        row += f"{'not reached':>11} {'':>17}"
    else:
        labels = [round(int(run.labels_R[-1]) * scale) for run in runs]
        row += f"{_range(rounds):>11} {_range(labels):>17}"
    return f"{row} {_range(errors, '.4f'):>22}"


def _range(values: Iterable[float | None], form: str = ",") -> str:
    numbers = [v for v in values if v is not None]
    low, high = format(min(numbers), form), format(max(numbers), form)
    return low if low == high else f"{low} to {high}"


def _check_ranges(args: argparse.Namespace) -> None:
    """Refuses impossible values of options, whichever way the plan is made."""
    closed = ("start", "miss_rate", "false_accept_rate", "start_spread", "alpha")
    for name in (*closed, "beta", "target_error"):
        value, inside = getattr(args, name), name in closed
        if value is None or (0 <= value <= 1 if inside else 0 < value < 1):
            continue
        bounds = "[0, 1]" if inside else "(0, 1)"
        raise BoostError(f"--{name.replace('_', '-')} {value} is not in {bounds}")
    for name in ("budget", "prompts", "k"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise BoostError(f"--{name} {value} is below 1")


def _from_run(args: argparse.Namespace, arms: Mapping[str, Arm]) -> Iterable[str]:
    """The frontier of error against labels and cost, from a run's fitted prior and labels."""
    from boostlm.report.write import read_run, start_verdicts

    run_dir = RunDir(args.run_dir)
    config, run = run_dir.read_config(), read_run(run_dir, predictions=False)
    of_seeds = [v.correct for seed in run.seeds if (v := start_verdicts(run_dir, seed)) is not None]
    if not of_seeds:
        raise BoostError(f"{run_dir.name} has no verdicts of round 0 to plan from")
    beta, source = _beta_of(args, config, run)
    right_N, k = of_seeds[0].sum(axis=1), of_seeds[0].shape[1]
    posterior = fit_prior(np.concatenate(of_seeds).sum(axis=1), k)
    rng = np.random.default_rng(0)
    p_RxN = np.stack([draw_rates(rng, draw_prior(rng, posterior), right_N, k) for _ in range(RUNS)])
    never = float(posterior.priors.never @ posterior.weight_G)
    yield (
        f"{run.config['name']}: {len(right_N):,} prompts, seed model right on "
        f"{np.mean(right_N) / k:.1%} of {k} samples each; about {never:.0%} of the prompts never."
    )
    yield f"Labels right: {beta:.1%} ({source}). Cost of a label: {config.label.cost:g}."
    yield ""
    yield f"After {config.rounds} rounds:"
    width = max(12, *map(len, arms))
    yield f"{'arm':<{width}} {'labels a round':>15} {'labels':>10} {'cost':>10}    training error"
    best: tuple[float, str] | None = None
    done: dict[tuple[str, float], list[PlannedRun]] = {}
    for name, arm in arms.items():
        settings = _settings(args, config, arm, beta)
        budgets = _BUDGETS if arm.labels != "none" else (1.0,)
        for part in budgets:
            budget = max(1, round(settings.budget * part))
            runs = done[name, part] = plan_arm(
                arm,
                settings._replace(budget=budget),
                p_RxN,
                target_error=None,
                max_rounds=config.rounds,
                places=max(1, round(settings.budget * max(budgets))),
                as_many_as=done.get((arm.as_many_as, part)),
            )
            errors = [float(r.error_R[-1]) for r in runs]
            labels = round(float(np.mean([r.labels_R[-1] for r in runs])))
            cost = labels * config.label.cost
            yield (
                f"{name:<{width}} {budget if labels else 0:>15,} {labels:>10,} {cost:>10,.6g}"
                f"    {_range(errors, '.4f')}"
            )
            if args.target_error is not None and max(errors) <= args.target_error:
                said = f"{name} with {budget if labels else 0:,} labels a round, cost {cost:,.6g}"
                best = min(best or (np.inf, ""), (cost, said))
    yield ""
    if args.target_error is not None:
        yield (
            f"Cheapest that reaches a training error of {args.target_error:g}: {best[1]}"
            if best
            else f"None of these reaches a training error of {args.target_error:g}."
        )
    yield _ASSUMES
    yield f"Each range spans {RUNS} simulated runs, with new rates for every prompt in each."


def _beta_of(args: argparse.Namespace, config: Config, run: RunData) -> tuple[float, str]:
    """The labels' rate to plan with, and where it is from."""
    if args.beta is not None:
        return args.beta, "as given by --beta"
    for arm in ("boosting", *run.arms):
        measured = measured_rate(run.rows, arm)
        if measured is not None:
            checked, (estimate, low, high) = measured
            source = f"measured on {checked:,} labels of {arm}: 95% {low:.1%} to {high:.1%}"
            return min(max(float(estimate), 1e-3), 1 - 1e-3), source
    return config.label.beta, "as set by label.beta; none was checked"
