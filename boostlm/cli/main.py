"""The command line: run, check, compile, label, convert, report, eval, export, plan."""

import argparse
import io
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from boostlm.cli.options import FLAGS, TAKE_DATA, TAKE_FIELDS, make_parser
from boostlm.config import Config
from boostlm.config_io import load_config, override
from boostlm.errors import BoostError, WaitingForPeople
from boostlm.runtime.preemption import EXIT_STATUS, Preempted, watching
from boostlm.user_code import open_path

if TYPE_CHECKING:
    from boostlm.storage.run_dir import RunDir


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit status.

    0: success; 2: an error that the user can fix; 3: the run waits for people's answers;
    75: SIGTERM (`run` only); 130: Ctrl-C.
    """
    warnings.showwarning = _show_warning
    args, rest = make_parser().parse_known_args(
        _join_values(sys.argv[1:] if argv is None else argv)
    )
    try:
        if rest and args.command not in TAKE_FIELDS + TAKE_DATA:
            raise BoostError(f"unknown argument {rest[0]!r}: see boostlm --help")
        _COMMANDS[args.command](args, rest)
    except BoostError as error:
        print(f"boostlm: {error}", file=sys.stderr)
        return 3 if isinstance(error, WaitingForPeople) else 2
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(
            f"boostlm: {error.strerror or error}{where}. Committed work is kept: fix this problem "
            "and run the same command again",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("\nboostlm: stopped. The same command continues from here", file=sys.stderr)
        return 130
    except Preempted as error:
        print(f"\nboostlm: {error}", file=sys.stderr)
        return EXIT_STATUS
    return 0


def _join_values(argv: Sequence[str]) -> list[str]:
    """Joins `--a.b value` to `--a.b=value`, so that argparse does not read it as the config."""
    joined, rest = [], list(argv)
    while rest:
        word = rest.pop(0)
        dotted = word.startswith("--") and "=" not in word and word not in ("--", *FLAGS)
        if dotted and rest and not rest[0].startswith("--"):
            word = f"{word}={rest.pop(0)}"
        joined.append(word)
    return joined


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"boostlm: warning: {message}", file=sys.stderr)


def _run(args: argparse.Namespace, rest: Sequence[str]) -> None:
    config = override(
        load_config(args.config) if args.config else Config(), rest, also=("run-dir",)
    )
    import jax

    from boostlm.experiment.context import make_context
    from boostlm.experiment.run import planned_stages, run_experiment
    from boostlm.report.refresh import ReportRefresh
    from boostlm.runtime.multihost import is_host0, on_host0
    from boostlm.runtime.progress import Progress, clock
    from boostlm.storage.run_dir import RunDir

    _prepare()
    run_dir = RunDir(args.run_dir or os.path.join("runs", config.name))
    with watching(), run_dir.locked():
        run_dir.create(config)
        shown = sys.stdout if is_host0() else io.StringIO()
        progress = Progress(planned_stages(config), shown)
        devices = jax.devices()
        progress.say(
            f"{config.name}: {len(config.arms)} arm{'s' * (len(config.arms) > 1)}, "
            f"{config.rounds} round{'s' * (config.rounds > 1)}, "
            f"{config.seeds} seed{'s' * (config.seeds > 1)}, {config.data.train_prompts} prompts, "
            f"{config.label.budget} labels per round; "
            f"{len(devices)} {devices[0].platform} device{'s' * (len(devices) > 1)}; "
            f"in {run_dir.name}"
        )
        try:
            ctx = make_context(config, run_dir)
            for note in ctx.task.notes:
                progress.say(note)
            run_experiment(ctx, run_dir, progress, on_row=on_host0(ReportRefresh(run_dir)))
        finally:
            progress.close()
        progress.say(on_host0(_table_and_report)(run_dir, run_dir.name))
        progress.say(f"total time {clock(progress.elapsed)}")


def _prepare() -> None:
    """Sets up a command that uses devices. Every host of a slice runs it."""
    import jax

    from boostlm.runtime.join_hosts import join_hosts
    from boostlm.runtime.malloc import tune_allocator

    _quieten_orbax()
    cache_compiled_programs()
    join_hosts()
    if jax.default_backend() == "cpu":
        tune_allocator()


def cache_compiled_programs() -> None:
    """Caches compiled programs for later processes in ~/.cache/boostlm.

    JAX_COMPILATION_CACHE_DIR sets another folder or bucket. JAX_ENABLE_COMPILATION_CACHE=false
    disables the cache. Only the command line calls this function.
    """
    import jax

    # pyrefly: ignore[missing-attribute]  # JAX adds its settings as attributes at import
    if jax.config.jax_compilation_cache_dir is None:
        caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(caches, "boostlm"))


def _quieten_orbax() -> None:
    """Hides Orbax's tracebacks for a failed write, which `checkpoint` reports in one line.

    Orbax logs some of them. It also closes its event loop, and its other pending writes then raise
    in TensorStore's threads, where only `sys.unraisablehook` can handle the exceptions.
    """
    import logging

    logging.getLogger("absl").setLevel(logging.CRITICAL)

    def show(unraisable: "sys.UnraisableHookArgs") -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            sys.__unraisablehook__(unraisable)

    sys.unraisablehook = show


def _label(args: argparse.Namespace, rest: Sequence[str]) -> None:
    from boostlm.cli.label import label_run
    from boostlm.storage.run_dir import RunDir

    label_run(RunDir(args.run_dir), args.file)


def _convert(args: argparse.Namespace, rest: Sequence[str]) -> None:
    if args.to == "huggingface":
        from boostlm.experiment.export import export_model

        if args.keep_tokens_of or rest:
            raise BoostError("--keep-tokens-of and --data.* are for conversion to boostlm only")
        export_model(args.source, args.dest, args.seed, args.arm, args.round)
        print(f"{args.dest}: load it with transformers' from_pretrained (float32)")
        return
    from boostlm.pretrained.convert import import_model

    files = [name for name in args.keep_tokens_of if not name.endswith(".py")]
    texts = _task_texts([name for name in args.keep_tokens_of if name.endswith(".py")], rest)
    model = import_model(args.source, args.dest, files, texts)
    tokenizer = model.tokenizer
    padding = len(model.dropped_embedding) - (tokenizer.full_size - tokenizer.vocab_size)
    if padding:
        print(f"{padding} rows of the embedding table belong to no token: they are set aside")
    print(
        f"{args.dest}: {tokenizer.vocab_size} of {tokenizer.full_size} tokens; start a run from it "
        f"with --seed_model.path {args.dest}"
    )


def _task_texts(configs: Sequence[str], rest: Sequence[str]) -> list[str]:
    """The texts of the tasks of some configs, each with the overrides of its data."""
    other = [word for word in rest if word.startswith("--") and not word.startswith("--data.")]
    if other:
        raise BoostError(f"unknown argument {other[0]!r}: convert takes --data.* fields only")
    if not configs and not rest:
        return []
    from boostlm.tasks.base import texts_of_task
    from boostlm.tasks.registry import load_task

    bases = [load_config(path) for path in configs] or [Config()]
    return [t for base in bases for t in texts_of_task(load_task(override(base, rest).data))]


def _check(args: argparse.Namespace, rest: Sequence[str]) -> None:
    from boostlm.cli.check import check

    for line in check(args):
        print(line, flush=True)


def _compile(args: argparse.Namespace, rest: Sequence[str]) -> None:
    from boostlm.aot.command import compile_for

    own = [name.replace("_", "-") for name in vars(args)]
    config = override(load_config(args.config) if args.config else Config(), rest, also=own)
    compile_for(
        config,
        args.topology,
        price=args.price,
        as_json=args.json,
        quick=args.quick,
        model=args.model,
        prefix_tokens=args.prefix_tokens,
        prompt_tokens=args.prompt_tokens,
        response_tokens=args.response_tokens,
    )


def _report(args: argparse.Namespace, rest: Sequence[str]) -> None:
    from boostlm.storage.run_dir import RunDir

    print(_table_and_report(RunDir(args.run_dir), args.out))


def _table_and_report(run_dir: "RunDir", folder: str | None) -> str:
    """The final table. With a folder, also writes the report there and adds its path."""
    from boostlm.report.terminal import final_table
    from boostlm.report.write import read_run, write_report

    run = read_run(run_dir)
    said = f"\n{final_table(run)}"
    if folder is not None:
        page = write_report(open_path(folder, "--out"), run)
        said += f"\nreport: {page}"
    return said


def _eval(args: argparse.Namespace, rest: Sequence[str]) -> None:
    from boostlm.experiment.evaluate import evaluate_saved
    from boostlm.runtime.multihost import is_host0
    from boostlm.storage.run_dir import RunDir

    _prepare()
    result = evaluate_saved(RunDir(args.run_dir), args.seed, args.arm, args.round, args.split)
    if not is_host0():
        return
    print(f"{args.arm}, seed {args.seed}, round {result.round}, {args.split}:")
    print(f"  greedy accuracy {result.accuracy:.4f} ({result.right} of {result.prompts})")
    for group, accuracy in result.by_group.items():
        print(f"    {group:<20} {accuracy:.3f}")


def _export(args: argparse.Namespace, rest: Sequence[str]) -> None:
    from boostlm.experiment.export import export_round
    from boostlm.storage.run_dir import RunDir

    out, own, labels = export_round(RunDir(args.run_dir), args.seed, args.arm, args.round, args.out)
    print(f"{out}: {own} own samples and {labels} labels")


def _plan(args: argparse.Namespace, rest: Sequence[str]) -> None:
    from boostlm.cli.plan import plan

    for line in plan(args):
        print(line, flush=True)


_COMMANDS = {
    "run": _run,
    "check": _check,
    "compile": _compile,
    "label": _label,
    "convert": _convert,
    "report": _report,
    "eval": _eval,
    "export": _export,
    "plan": _plan,
}
