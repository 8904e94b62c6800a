"""The command line: run, label, convert, report, eval, export, plan."""

import argparse
import dataclasses
import inspect
import logging
import os
import re
import sys
import warnings
from collections.abc import Sequence

from boostlm import config as config_module
from boostlm.config import ARMS, Config
from boostlm.config_io import load_config, override
from boostlm.errors import BoostError, WaitingForPeople
from boostlm.loop.preemption import EXIT_STATUS, Preempted, watching
from boostlm.tasks.base import SPLITS

_EPILOG = """
examples:
  boostlm run                                   the embedded task: four arms, a few minutes
  boostlm run --seeds 3 --run-dir runs/three    the same with 3 seeds, for intervals
  boostlm run configs/gsm8k_tiny.py --data.path DIR
  boostlm label runs/mine                       answer what a run asks people
  boostlm convert gemma-3-270m models/gemma     from a Hugging Face directory or a GGUF file
  boostlm run --seed_model.path models/gemma --data.task gsm8k
  boostlm convert runs/gsm8k out --to huggingface
  boostlm report runs/skills                    report.html and the table again
  boostlm eval runs/skills --arm boosting --split validation
  boostlm export runs/skills --arm boosting     what its last round trained on, as JSON lines
  boostlm plan --beta 0.1 --start 0.4 --target-error 0.05 --budget 500 --prompts 7000
"""

_RUN_DIR_HELP = "folder of a run, such as runs/skills"
_RATE_HELP = "chance that the filter misjudges a {} response; default: 0"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status.

    0: done; 2: what the user can put right; 3: the run waits for people's answers; 75: preempted by
    SIGTERM, `run` only; 130: Ctrl-C.
    """
    warnings.showwarning = _show_warning
    args, rest = _parser().parse_known_args(_join_values(sys.argv[1:] if argv is None else argv))
    try:
        if rest and args.command is not _run:
            raise BoostError(f"unknown argument {rest[0]!r}: see boostlm --help")
        args.command(args, rest)
    except BoostError as error:
        print(f"boostlm: {error}", file=sys.stderr)
        return 3 if isinstance(error, WaitingForPeople) else 2
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(
            f"boostlm: {error.strerror or error}{where}. What was committed is kept: put it right "
            "and run the same command again",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("\nboostlm: stopped. The same command goes on from here", file=sys.stderr)
        return 130
    except Preempted as error:
        print(f"\nboostlm: {error}", file=sys.stderr)
        return EXIT_STATUS
    return 0


def _join_values(argv: Sequence[str]) -> list[str]:
    """`--a.b value` as `--a.b=value`, so that argparse cannot take the value for the config."""
    joined, rest = [], list(argv)
    while rest:
        word = rest.pop(0)
        dotted = word.startswith("--") and "=" not in word and word not in ("--", "--help")
        if dotted and rest and not rest[0].startswith("--"):
            word = f"{word}={rest.pop(0)}"
        joined.append(word)
    return joined


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    print(f"boostlm: warning: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="boostlm",
        description="Fine-tune a language model in rounds on its own output, curated by boosting.",
        epilog=_EPILOG,
        formatter_class=raw,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="run an experiment, or go on with one",
        description="Runs every arm of a config from one seed model, and writes a report.",
        epilog="config fields, each an option (--train.alpha 0.5):\n\n" + _field_help(),
        formatter_class=raw,
        allow_abbrev=False,
    )
    run.add_argument("config", nargs="?", help="a configs/*.py file; default: the embedded task")
    run.add_argument("--run-dir", help="local or gs:// folder; default: runs/<name>")
    run.set_defaults(command=_run)

    _add_label(commands)

    convert = commands.add_parser(
        "convert",
        help="make a pretrained model's folder, or turn a model back for transformers",
        description="Turns a Hugging Face directory or a GGUF file of Gemma 2 or Gemma 3 into a "
        "folder for --seed_model.path; with --to huggingface, such a folder, or the model that a "
        "run made of it, into a directory that transformers loads.",
    )
    convert.add_argument("source", help="directory, GGUF file, converted model or run directory")
    convert.add_argument("dest", help="folder to make")
    convert.add_argument(
        "--to", default="boostlm", choices=("boostlm", "huggingface"), help="default: boostlm"
    )
    convert.add_argument(
        "--keep-tokens-of",
        metavar="FILE",
        action="append",
        default=[],
        help="trim the vocabulary to the tokens of this .jsonl or text file; may be repeated",
    )
    convert.add_argument("--seed", type=int, default=0, help="of a run directory")
    convert.add_argument("--arm", default="boosting", choices=ARMS, help="of a run directory")
    convert.add_argument("--round", type=int, help="of a run directory; default: the last one")
    convert.set_defaults(command=_convert)

    report = commands.add_parser(
        "report",
        help="write report.html and print the table",
        description="Makes report.html and summary.png from a run, finished or not, and prints the "
        "table.",
    )
    report.add_argument("run_dir", help=_RUN_DIR_HELP)
    report.set_defaults(command=_report)

    evaluate = commands.add_parser(
        "eval",
        help="greedy accuracy of a model that a run trained",
        description="Prints the greedy accuracy of a checkpoint, in all and by band of prompts.",
    )
    evaluate.add_argument("run_dir", help=_RUN_DIR_HELP)
    evaluate.add_argument("--seed", type=int, default=0, help="which repeat; default: 0")
    evaluate.add_argument("--arm", default="boosting", choices=ARMS, help="default: boosting")
    evaluate.add_argument(
        "--round", type=int, help="rounds of training: 0 is the seed model; default: the last one"
    )
    evaluate.add_argument("--split", default="test", choices=SPLITS, help="default: test")
    evaluate.set_defaults(command=_eval)

    export = commands.add_parser(
        "export",
        help="write the curated set that a round trained on",
        description="Writes what a round of training drew its rows from as JSON lines (prompt, "
        "response, weight, round, source and where it came from); weights add up to 1. Load it "
        'with datasets.load_dataset("json", data_files=FILE).',
    )
    export.add_argument("run_dir", help=_RUN_DIR_HELP)
    export.add_argument("--seed", type=int, default=0, help="which repeat; default: 0")
    export.add_argument("--arm", default="boosting", choices=ARMS, help="default: boosting")
    export.add_argument("--round", type=int, help="of training, from 1; default: the last one")
    export.add_argument("--out", metavar="FILE", help="default: a file in RUN_DIR/curated")
    export.set_defaults(command=_export)

    plan = commands.add_parser(
        "plan",
        help="rounds and labels that a target takes, by the theory",
        description="The ideal learner's way to a target error: hardest prompts first, one sample "
        "and at most one unfiltered label a prompt and round.",
    )
    plan.add_argument("--beta", type=float, required=True, help="fraction of labels that are right")
    plan.add_argument("--target-error", type=float, required=True, help="1 - accuracy to reach")
    plan.add_argument("--budget", type=int, required=True, help="labels a round")
    plan.add_argument("--prompts", type=int, required=True, help="training prompts (N)")
    plan.add_argument(
        "--start", type=float, default=0.0, help="the seed model's accuracy; default: 0"
    )
    plan.add_argument("--miss-rate", type=float, default=0.0, help=_RATE_HELP.format("correct"))
    plan.add_argument(
        "--false-accept-rate", type=float, default=0.0, help=_RATE_HELP.format("incorrect")
    )
    plan.set_defaults(command=_plan)
    return parser


def _add_label(commands) -> None:
    label = commands.add_parser(
        "label",
        help="answer what a run with the people labeler asks",
        description="Asks in the terminal for the answers that a run waits for (it stopped with "
        "status 3), or reads them from a filled-in copy of the run's people/queue.csv or "
        "queue.jsonl. Every good answer is kept; rows that cannot be used are named.",
    )
    label.add_argument("run_dir", help=_RUN_DIR_HELP)
    label.add_argument("--from", dest="file", metavar="FILE", help=".csv or .jsonl with answers")
    label.set_defaults(command=_label)


def _field_help() -> str:
    """Every config field with its default and the comment beside its definition."""
    comments = {}
    for name, value in inspect.getmembers(config_module, dataclasses.is_dataclass):
        source = inspect.getsource(value)
        comments[name] = dict(re.findall(r"^    (\w+): .*?  # (.*)$", source, re.MULTILINE))
    lines = []

    def walk(part, prefix):
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            if dataclasses.is_dataclass(value):
                walk(value, f"{prefix}{field.name}.")
                continue
            shown = ",".join(value) if isinstance(value, tuple) else value
            comment = comments[type(part).__name__].get(field.name, "")
            lines.append(f"  --{prefix}{field.name} {shown!s}".ljust(46) + f" {comment}".rstrip())

    walk(Config(), "")
    return "\n".join(lines)


def _run(args: argparse.Namespace, rest: Sequence[str]) -> None:
    config = override(
        load_config(args.config) if args.config else Config(), rest, also=("run-dir",)
    )
    import jax

    from boostlm.loop.allocator import keep_freed_memory
    from boostlm.loop.experiment import planned_stages, run_experiment
    from boostlm.loop.progress import Progress, clock
    from boostlm.loop.run_dir import RunDir
    from boostlm.loop.workbench import build_workbench

    _quieten_orbax()
    keep_compiled()
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    run_dir = RunDir(args.run_dir or os.path.join("runs", config.name))
    with watching(), run_dir.locked():
        run_dir.create(config)
        progress = Progress(planned_stages(config))
        devices = jax.local_devices()
        progress.say(
            f"{config.name}: {len(config.arms)} arms, {config.rounds} rounds, "
            f"{config.seeds} seed{'s' * (config.seeds > 1)}, {config.data.train_prompts} prompts, "
            f"{config.label.budget} labels a round; "
            f"{len(devices)} {devices[0].platform} device{'s' * (len(devices) > 1)}; "
            f"in {run_dir.name}"
        )
        try:
            bench = build_workbench(config, run_dir)
            for note in bench.task.notes:
                progress.say(note)
            run_experiment(bench, run_dir, progress)
        finally:
            progress.close()
        _finish(run_dir)
        progress.say(f"{clock(progress.elapsed)} in all")


def keep_compiled() -> None:
    """Keeps compiled programs for later processes: ~/.cache/boostlm, or where the user says.

    JAX_COMPILATION_CACHE_DIR names another folder (or bucket), JAX_ENABLE_COMPILATION_CACHE=false
    keeps nothing. The library itself never does this.
    """
    import jax

    if jax.config.jax_compilation_cache_dir is None:
        caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(caches, "boostlm"))


def _quieten_orbax() -> None:
    """Keeps pages of traceback for a failed write, which `checkpoint` says in a line, off screen.

    Orbax logs some; its other writes find their event loop closed, and TensorStore prints that.
    """
    logging.getLogger("absl").setLevel(logging.CRITICAL)

    def show(kind, error, trace) -> None:
        if str(error) != "Event loop is closed":
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = show


def _label(args: argparse.Namespace, rest: Sequence[str]) -> None:
    from boostlm.labelers.terminal import label_run
    from boostlm.loop.run_dir import RunDir

    label_run(RunDir(args.run_dir), args.file)


def _convert(args: argparse.Namespace, rest: Sequence[str]) -> None:
    from boostlm.models.convert import export_model, import_model

    if args.to == "huggingface":
        if args.keep_tokens_of:
            raise BoostError("--keep-tokens-of is for conversion to boostlm only")
        export_model(args.source, args.dest, args.seed, args.arm, args.round)
        print(f"{args.dest}: for transformers' from_pretrained, float32")
        return
    tokenizer = import_model(args.source, args.dest, args.keep_tokens_of).tokenizer
    print(
        f"{args.dest}: {tokenizer.vocab_size} of {tokenizer.full_size} tokens; start a run from it "
        f"with --seed_model.path {args.dest}"
    )


def _report(args: argparse.Namespace, rest: Sequence[str]) -> None:
    from boostlm.loop.run_dir import RunDir

    _finish(RunDir(args.run_dir))


def _finish(run_dir) -> None:
    """The report's files, and the table."""
    from boostlm.report.table import final_table
    from boostlm.report.write import read_run, write_report

    run = read_run(run_dir)
    page = write_report(run_dir, run)
    print(f"\n{final_table(run)}\n\nreport: {page}")


def _eval(args: argparse.Namespace, rest: Sequence[str]) -> None:
    from boostlm.loop.evaluate import evaluate_saved
    from boostlm.loop.run_dir import RunDir

    _quieten_orbax()
    keep_compiled()
    result = evaluate_saved(RunDir(args.run_dir), args.seed, args.arm, args.round, args.split)
    print(f"{args.arm}, seed {args.seed}, round {result.round}, {args.split}:")
    print(f"  greedy accuracy {result.accuracy:.4f} ({result.right} of {result.prompts})")
    for band, accuracy in result.by_band.items():
        print(f"    {band:<20} {accuracy:.3f}")


def _export(args: argparse.Namespace, rest: Sequence[str]) -> None:
    from boostlm.loop.export import export_round
    from boostlm.loop.run_dir import RunDir

    run_dir = RunDir(args.run_dir)
    path, own, labels = export_round(run_dir, args.seed, args.arm, args.round, args.out)
    print(f"{path}: {own} own samples and {labels} labels")


def _plan(args: argparse.Namespace, rest: Sequence[str]) -> None:
    from boostlm.theory import describe_plan

    print(
        describe_plan(
            beta=args.beta,
            start=args.start,
            target_error=args.target_error,
            budget=args.budget,
            prompts=args.prompts,
            miss_rate=args.miss_rate,
            false_accept_rate=args.false_accept_rate,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
