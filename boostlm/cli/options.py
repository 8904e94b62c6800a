"""The options of every command, with their help."""

import argparse
import dataclasses
import inspect
import re
from typing import TYPE_CHECKING, Any

from boostlm import config as config_module
from boostlm.config import ARM_NAMES, SPLITS, Config

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

TAKE_FIELDS = ("run", "compile")  # commands to which every config field is an option
FLAGS = ("--help", "--json")  # options that take no value

_EPILOG = """
examples:
  boostlm run                                   the embedded task: four arms, a few minutes
  boostlm run --seeds 3 --run-dir runs/three    the same with 3 seeds, for intervals
  boostlm run configs/gsm8k_tiny.py --data.path DIR
  boostlm compile configs/gsm8k_tiny.py --topology v5e:2x4 --price 1.2
  boostlm label runs/mine                       answer what a run asks people
  boostlm convert gemma-3-270m models/gemma     from a Hugging Face directory or a GGUF file
  boostlm run --seed_model.path models/gemma --data.task gsm8k
  boostlm convert runs/gsm8k out --to huggingface
  boostlm report runs/skills --out page         the table again; report.html in page/
  boostlm eval runs/skills --arm boosting --split validation
  boostlm export runs/skills --arm boosting     what its last round trained on, as JSON lines
  boostlm plan --beta 0.1 --start 0.4 --target-error 0.05 --budget 500 --prompts 7000
"""

_RAW = argparse.RawDescriptionHelpFormatter
_RUN_DIR_HELP = "folder of a run, such as runs/skills"
_RATE_HELP = "chance that the filter misjudges a {} response; default: 0"


def make_parser() -> argparse.ArgumentParser:
    """The parser; `command` is then the command's name."""
    parser = argparse.ArgumentParser(
        prog="boostlm",
        description="Fine-tune a language model in rounds on its own output, curated by boosting.",
        epilog=_EPILOG,
        formatter_class=_RAW,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for add in (
        _add_run,
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
        help="run an experiment, or continue one",
        description="Runs every arm of a config from one seed model, and writes a report.",
        epilog="config fields, each an option (--train.alpha 0.5):\n\n" + field_help(),
        formatter_class=_RAW,
        allow_abbrev=False,
    )
    run.add_argument("config", nargs="?", help="a configs/*.py file; default: the embedded task")
    run.add_argument("--run-dir", help="local or gs:// folder; default: runs/<name>")


def _add_compile(commands: "Commands") -> None:
    compile_ = commands.add_parser(
        "compile",
        help="what a config takes on a TPU that is not there: memory, time, cost",
        description="Compiles the sampling and training programs of a config for a TPU, with XLA's "
        "own compiler and no TPU, and prints what they take: memory, arithmetic, traffic, time at "
        "the roofline. Exits with status 2, and a setting that fits, where they do not fit.",
        epilog="Every config field is an option, as of boostlm run.",
        formatter_class=_RAW,
        allow_abbrev=False,
    )
    compile_.add_argument("config", nargs="?", help="a configs/*.py file; default: embedded task")
    compile_.add_argument("--topology", required=True, help="such as v5e:2x4, v6e:2x4, v4:2x2x1")
    compile_.add_argument("--price", type=float, help="of one chip for an hour, in any unit")
    compile_.add_argument(
        "--quick",
        action="store_true",
        help="with XLA's least effort: a quarter of the time; memory comes out somewhat higher",
    )
    compile_.add_argument("--json", action="store_true", help="print JSON, for scripts")
    compile_.add_argument(
        "--model", help="a Gemma, such as gemma2_2b, where seed_model.path is not at hand"
    )
    compile_.add_argument(
        "--prefix-tokens", type=int, help="that all prompts begin with, with --model; default: 0"
    )
    compile_.add_argument(
        "--prompt-tokens",
        type=int,
        help="of the longest prompt, after those; default: data.max_prompt_tokens less the prefix",
    )
    compile_.add_argument(
        "--response-tokens",
        type=float,
        help="of a response in the mean; default: sample.max_new_tokens",
    )


def _add_convert(commands: "Commands") -> None:
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
    convert.add_argument("--arm", default="boosting", choices=ARM_NAMES, help="of a run directory")
    convert.add_argument("--round", type=int, help="of a run directory; default: the last one")


def _add_report(commands: "Commands") -> None:
    report = commands.add_parser(
        "report",
        help="print the table, and write report.html",
        description="Prints the table of a run, finished or not; with --out, also writes its "
        "report.html and summary.png. Leaves the run directory as it is.",
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
    evaluate.add_argument("--arm", default="boosting", choices=ARM_NAMES, help="default: boosting")
    evaluate.add_argument(
        "--round", type=int, help="rounds of training: 0 is the seed model; default: the last one"
    )
    evaluate.add_argument("--split", default="test", choices=SPLITS, help="default: test")


def _add_export(commands: "Commands") -> None:
    export = commands.add_parser(
        "export",
        help="write the curated set that a round trained on",
        description="Writes what a round of training drew its rows from as JSON lines (prompt, "
        "response, weight, round, source and where it came from); weights add up to 1. Load it "
        'with datasets.load_dataset("json", data_files=FILE).',
    )
    export.add_argument("run_dir", help=_RUN_DIR_HELP)
    export.add_argument("--seed", type=int, default=0, help="which repeat; default: 0")
    export.add_argument("--arm", default="boosting", choices=ARM_NAMES, help="default: boosting")
    export.add_argument("--round", type=int, help="of training, from 1; default: the last one")
    export.add_argument(
        "--out", metavar="FILE", help="default: seed0-boosting-round05.jsonl or so, in this folder"
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
    plan.add_argument("--beta", type=float, help="fraction of labels that are right")
    plan.add_argument("--target-error", type=float, help="1 - accuracy to reach")
    plan.add_argument("--budget", type=int, help="labels a round")
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
        help="answer what a run with the people labeler asks",
        description="Asks in the terminal for the answers that a run waits for (it stopped with "
        "status 3), or reads them from a filled-in copy of the run's people/queue.csv or "
        "queue.jsonl. Every good answer is kept; rows that cannot be used are named.",
    )
    label.add_argument("run_dir", help=_RUN_DIR_HELP)
    label.add_argument("--from", dest="file", metavar="FILE", help=".csv or .jsonl with answers")


def field_help() -> str:
    """Every config field with its default and the comment beside its definition."""
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
