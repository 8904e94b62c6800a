"""`boostlm check`: says what is in a data file, and what is wrong with it."""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator

from boostlm.config import Config, DataConfig
from boostlm.config_checks import validate
from boostlm.errors import BoostError
from boostlm.tasks.own_data.check import examine

_SHOWN = 10  # worst rows
_GROUPS_SHOWN = 12


def check(args: argparse.Namespace) -> Iterator[str]:
    """The lines to print.

    Raises:
      BoostError: a run would refuse the data; after the lines.
    """
    data = DataConfig(
        task="jsonl",
        path=args.data,
        prompt=args.prompt,
        answer=args.answer,
        group=args.group,
        split=args.split,
        template=args.template,
        verifier=args.verifier,
    )
    validate(Config(data=data))
    unit, length_of = _unit(args.model)
    report = examine(data, length_of)
    yield f"{args.data}: {report.rows:,} rows"
    yield "  " + ", ".join(f"{count:,} {split}" for split, count in report.splits.items())
    for name, (middle, high, most) in report.lengths.items():
        yield f"  {name}: median {middle} {unit}, 99% at most {high}, longest {most}"
    if args.group:
        names = list(report.groups)
        shown = ", ".join(f"{name} {report.groups[name]:,}" for name in names[:_GROUPS_SHOWN])
        more = f", and {len(names) - _GROUPS_SHOWN} more" if len(names) > _GROUPS_SHOWN else ""
        yield f"  groups: {shown}{more}"
    if not report.findings:
        yield "  nothing is wrong with them"
        return
    for kind, count in Counter(finding.kind for finding in report.findings).items():
        yield f"  {count:,} {kind}"
    yield f"the first {min(_SHOWN, len(report.findings))}, worst first:"
    for finding in report.findings[:_SHOWN]:
        yield f"  {finding.where}: {finding.said}"
    stopping = sum(finding.stops for finding in report.findings)
    if stopping:
        raise BoostError(
            f"a run would refuse {stopping:,} rows of {args.data}: mend or remove them"
        )


def _unit(model: str | None) -> tuple[str, Callable[[str], int]]:
    """The unit of lengths, and the function that measures them."""
    if model is None:
        return "words", lambda text: len(text.split())
    from boostlm.pretrained.converted import open_converted
    from boostlm.user_code import open_path

    _, tokenizer = open_converted(open_path(model, "--model"))
    return "tokens", lambda text: len(tokenizer.encode_prompt(text))
