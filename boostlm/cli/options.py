"""The options and the help of every command."""

import argparse
import dataclasses
import inspect
import re
from typing import TYPE_CHECKING, Any

from boostlm import config as config_module
from boostlm.config import SPLITS, VERIFIERS, Config, DataConfig

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

TAKE_FIELDS = ("run", "compile")  # commands that accept every config field as an option
TAKE_DATA = ("convert",)  # those of data only
FLAGS = ("--help", "--json")  # options that take no value

_EPILOG = r"""
examples:
  boostlm run                                   the embedded task: four arms, a few minutes
  boostlm run --seeds 3 --run-dir runs/three    the same with 3 seeds, for intervals
  boostlm run configs/gsm8k_tiny.py --data.path DIR
  boostlm check my.jsonl --prompt question --answer answer --verifier number
  boostlm run --data.task jsonl --data.path my.jsonl --data.prompt question \
              --data.verifier number --seed_model.path models/gemma
  boostlm compile configs/gsm8k_tiny.py --topology v5e:2x4 --price 1.2
  boostlm label runs/mine                       answer a run's queries to people
  boostlm convert gemma-3-270m models/gemma     from a Hugging Face directory or a GGUF file
  boostlm run --seed_model.path models/gemma --data.task gsm8k
  boostlm convert runs/gsm8k out --to huggingface
  boostlm report runs/skills --out page         the table again; report.html in page/
  boostlm eval runs/skills --arm boosting --split validation
  boostlm export runs/skills --arm boosting     the last round's curated set, as JSON lines
  boostlm plan --beta 0.1 --start 0.4 --target-error 0.05 --budget 500 --prompts 7000
"""

_RAW = argparse.RawDescriptionHelpFormatter
_RUN_DIR_HELP = "run directory, such as runs/skills"
_RATE_HELP = "probability that the filter misjudges a {} response; default: 0"


def make_parser() -> argparse.ArgumentParser:
    """The parser. It stores the command's name as `command`."""
    parser = argparse.ArgumentParser(
        prog="boostlm",
        description="Fine-tune a language model in rounds on its own output, curated by boosting.",
        epilog=_EPILOG,
        formatter_class=_RAW,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for add in (
        _add_run,
        _add_check,
        _add_compile,
        _add_label,
        _add_convert,
        _add_report,
        _add_evaluate,
        _add_export,
        _add_plan,
    ):
        add(commands)
    return parser


def _add_run(commands: "Commands") -> None:
    run = commands.add_parser(
        "run",
        help="run or resume an experiment",
        description="Runs every arm of a config from one seed model and writes a report.",
        epilog="every config field is an option (--train.alpha 0.5):\n\n" + field_help(),
        formatter_class=_RAW,
        allow_abbrev=False,
    )
    run.add_argument("config", nargs="?", help="a configs/*.py file; default: the embedded task")
    run.add_argument("--run-dir", help="local or gs:// folder; default: runs/<name>")


def _add_check(commands: "Commands") -> None:
    check = commands.add_parser(
        "check",
        help="examine a file of questions and answers before a run",
        description="Reads a data file as a run would (data.task jsonl). Prints its size, splits, "
        "lengths and groups, duplicates, test problems in the training split, answers that the "
        "verifier cannot use, and the ten worst rows. Exits with status 2 if a run would refuse "
        "the file.",
        formatter_class=_RAW,
        allow_abbrev=False,
    )
    check.add_argument("data", help="a file, a folder of train, validation and test, or hf://NAME")
    data = DataConfig()
    for name, help_ in (
        ("prompt", "the field with the question"),
        ("answer", "the field with the reference"),
        ("group", "the field by which the report groups prompts"),
        ("split", "the field that names a row's split"),
        ("template", "builds the prompt from fields, such as 'Question: {question}'"),
        ("verifier", f"one of {', '.join(VERIFIERS)}, or FILE.py:NAME"),
    ):
        default = getattr(data, name)
        shown = f"; default: {default}" if default else ""
        check.add_argument(f"--{name}", default=default, help=help_ + shown)
    check.add_argument("--model", help="a converted model, to measure lengths in its tokens")


def _add_compile(commands: "Commands") -> None:
    compile_ = commands.add_parser(
        "compile",
        help="estimate a config's memory, time and cost on a TPU, without one",
        description="Compiles the sampling and training programs of a config with XLA's TPU "
        "compiler, without a TPU. Prints their memory, arithmetic, traffic and time at the "
        "roofline. If they do not fit, prints a setting that does and exits with status 2.",
        epilog="Every config field is an option, as for boostlm run.",
        formatter_class=_RAW,
        allow_abbrev=False,
    )
    compile_.add_argument("config", nargs="?", help="a configs/*.py file; default: embedded task")
    compile_.add_argument(
        "--topology", required=True, help="TPU topology, such as v5e:2x4, v6e:2x4, v4:2x2x1"
    )
    compile_.add_argument("--price", type=float, help="price of one chip-hour, in any unit")
    compile_.add_argument(
        "--quick",
        action="store_true",
        help="compile with XLA's lowest effort: a quarter of the time, somewhat higher memory",
    )
    compile_.add_argument("--json", action="store_true", help="print JSON, for scripts")
    compile_.add_argument(
        "--model", help="a Gemma model, such as gemma2_2b, if seed_model.path is not available"
    )
    compile_.add_argument(
        "--prefix-tokens",
        type=int,
        help="tokens of the prefix that all prompts share, with --model; default: 0",
    )
    compile_.add_argument(
        "--prompt-tokens",
        type=int,
        help="tokens of the longest prompt after the prefix; default: data.max_prompt_tokens minus "
        "the prefix",
    )
    compile_.add_argument(
        "--response-tokens",
        type=float,
        help="mean tokens of a response; default: sample.max_new_tokens",
    )


def _add_convert(commands: "Commands") -> None:
    convert = commands.add_parser(
        "convert",
        help="convert a pretrained model for boostlm, or a model for transformers",
        description="Converts a Hugging Face directory or a GGUF file of Gemma 2 or Gemma 3 to a "
        "folder for --seed_model.path. With --to huggingface, converts such a folder, or the model "
        "that a run trained from it, to a directory that transformers loads.",
        epilog="--data.task NAME and other --data fields, as for boostlm run, trim the vocabulary "
        "to the tokens of that task's prompts, and of the files.",
        allow_abbrev=False,
    )
    convert.add_argument("source", help="directory, GGUF file, converted model or run directory")
    convert.add_argument("dest", help="folder to create")
    convert.add_argument(
        "--to", default="boostlm", choices=("boostlm", "huggingface"), help="default: boostlm"
    )
    convert.add_argument(
        "--keep-tokens-of",
        metavar="FILE",
        action="append",
        default=[],
        help="trim the vocabulary to the tokens of this .jsonl or text file, or of the task of "
        "this configs/*.py file; may be repeated",
    )
    convert.add_argument("--seed", type=int, default=0, help="seed in a run directory; default: 0")
    convert.add_argument("--arm", default="boosting", help="arm in a run directory")
    convert.add_argument(
        "--round", type=int, help="round in a run directory; default: the last one"
    )


def _add_report(commands: "Commands") -> None:
    report = commands.add_parser(
        "report",
        help="print the table and write report.html",
        description="Prints the table of a run, finished or not. With --out, also writes "
        "report.html and summary.png. Does not change the run directory.",
    )
    report.add_argument("run_dir", help=_RUN_DIR_HELP)
    report.add_argument("--out", metavar="FOLDER", help="folder for report.html and summary.png")


def _add_evaluate(commands: "Commands") -> None:
    evaluate = commands.add_parser(
        "eval",
        help="greedy accuracy of a model that a run trained",
        description="Prints the greedy accuracy of a checkpoint, for all prompts and by group.",
    )
    evaluate.add_argument("run_dir", help=_RUN_DIR_HELP)
    evaluate.add_argument("--seed", type=int, default=0, help="which repeat; default: 0")
    evaluate.add_argument("--arm", default="boosting", help="default: boosting")
    evaluate.add_argument(
        "--round", type=int, help="rounds of training: 0 is the seed model; default: the last one"
    )
    evaluate.add_argument("--split", default="test", choices=SPLITS, help="default: test")


def _add_export(commands: "Commands") -> None:
    export = commands.add_parser(
        "export",
        help="write the curated set that a round trained on",
        description="Writes the curated set of a training round as JSON lines (prompt, response, "
        "weight, round, source and origin). The weights add up to 1. Load it with "
        'datasets.load_dataset("json", data_files=FILE).',
    )
    export.add_argument("run_dir", help=_RUN_DIR_HELP)
    export.add_argument("--seed", type=int, default=0, help="which repeat; default: 0")
    export.add_argument("--arm", default="boosting", help="default: boosting")
    export.add_argument("--round", type=int, help="training round, from 1; default: the last one")
    export.add_argument(
        "--out",
        metavar="FILE",
        help="output file; default: for example seed0-boosting-round05.jsonl in this folder",
    )


def _add_plan(commands: "Commands") -> None:
    plan = commands.add_parser(
        "plan",
        help="rounds and labels that a target takes, for an ideal learner",
        description="Simulates an ideal learner under the real curation code. With a run directory "
        "it starts from that run: its seed model's verdicts, its measured labels and its prices; "
        "then only --arms, --beta and --target-error are read.",
    )
    plan.add_argument("run_dir", nargs="?", help=f"{_RUN_DIR_HELP}; default: the options below")
    plan.add_argument("--beta", type=float, help="fraction of correct labels")
    plan.add_argument("--target-error", type=float, help="1 - accuracy to reach")
    plan.add_argument("--budget", type=int, help="labels per round")
    plan.add_argument("--prompts", type=int, help="training prompts (N)")
    plan.add_argument(
        "--start", type=float, default=0.0, help="the seed model's accuracy; default: 0"
    )
    plan.add_argument(
        "--start-spread",
        type=float,
        metavar="S",
        help="how the chance p of a right answer is spread over prompts: 0 if all are alike, 1 if "
        "every p is 0 or 1, 1/(a+b+1) for Beta(a, b); default: both ends are shown",
    )
    plan.add_argument("--arms", default="boosting,uniform,filter_only", help="default: %(default)s")
    plan.add_argument("--k", type=int, default=8, help="samples a prompt and round; default: 8")
    plan.add_argument("--alpha", type=float, default=1 / 3, help="weight of labels; default: 1/3")
    plan.add_argument("--unfiltered", action="store_true", help="train on wrong labels as well")
    plan.add_argument("--miss-rate", type=float, default=0.0, help=_RATE_HELP.format("correct"))
    plan.add_argument(
        "--false-accept-rate", type=float, default=0.0, help=_RATE_HELP.format("incorrect")
    )


def _add_label(commands: "Commands") -> None:
    label = commands.add_parser(
        "label",
        help="answer the queries of a run with the people labeler",
        description="Asks in the terminal for the answers that a run waits for (it stopped with "
        "status 3), or reads them from a filled-in copy of the run's people/queue.csv or "
        "queue.jsonl. Saves every valid answer and lists the rows that cannot be used.",
    )
    label.add_argument("run_dir", help=_RUN_DIR_HELP)
    label.add_argument("--from", dest="file", metavar="FILE", help=".csv or .jsonl with answers")


def field_help() -> str:
    """Every config field with its default and the comment at its definition."""
    comments = {}
    for name, value in inspect.getmembers(config_module, inspect.isclass):
        if dataclasses.is_dataclass(value):
            source = inspect.getsource(value)
            comments[name] = dict(re.findall(r"^    (\w+): .*?  # (.*)$", source, re.MULTILINE))
    lines = []

    def walk(part: Any, prefix: str) -> None:
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
