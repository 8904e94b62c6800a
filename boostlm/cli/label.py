"""boostlm label: people's answers, from a terminal or from a file."""

from etils import epath

from boostlm.errors import BoostError
from boostlm.labelers.base import Query
from boostlm.labelers.people import describe, open_queries, record, take_file, tidy
from boostlm.storage.run_dir import RunDir

_HELP = """\
Type each answer, of one line or more; a dot alone on a line ends it. In place of an answer, .skip
leaves a prompt for later and .quit stops. Every answer is on disk at once."""


def label_run(run_dir: RunDir, file: str | None) -> None:
    """Takes answers for a run that waits for them.

    Args:
      run_dir: of the run.
      file: a filled-in copy of the queue, CSV or JSONL; None asks in the terminal.

    Raises:
      BoostError: no people are asked in this run, or rows of the file were refused; the others
        are kept.
    """
    config = run_dir.read_config()
    if config.label.labeler != "people":
        raise BoostError(
            f"{run_dir.name} has label.labeler {config.label.labeler}: only a run whose labeler is "
            "people asks anyone"
        )
    folder = run_dir.people_folder
    with run_dir.locked():
        if file is None:
            _ask(folder, open_queries(folder))
            print(_what_is_left(folder))
            return
        taken = take_file(folder, epath.Path(file))
        known = f", {taken.known} known before" if taken.known else ""
        print(f"{taken.new} new answers{known}. {_what_is_left(folder)}")
        if taken.problems:
            raise BoostError(
                f"{file}: {len(taken.problems)} rows were refused, the others are kept:\n"
                + describe(taken.problems)
            )
        if not taken.new and not taken.known:
            raise BoostError(f"{file} holds no rows")


def _what_is_left(folder: epath.Path) -> str:
    left = len(open_queries(folder))
    return f"{left} are still wanted" if left else "None is wanted now: boostlm run goes on"


def _ask(folder: epath.Path, queries: list[Query]) -> None:
    """Asks one by one, until the end, .quit or the end of input."""
    if queries:
        print(_HELP)
    for number, query in enumerate(queries, 1):
        where = f"seed {query.seed}, round {query.round}, prompt {query.prompt}"
        print(f"\n--- {number} of {len(queries)}: {where}, sample {query.sample} ---")
        print(_printable(query.text))
        answer = None
        while answer is None:
            try:
                answer = _read_answer()
                if answer == ".quit":
                    return
                if answer != ".skip":
                    record(folder, [(query, tidy(answer))])
            except BoostError as error:
                print(f"({error}: type it again, or .skip)")
                answer = None


def _read_answer() -> str:
    """Lines up to a dot, or a command; the end of input is .quit."""
    lines: list[str] = []
    while True:
        try:
            line = input("> ").rstrip("\r")
        except EOFError:
            print("\n(the end: what was typed without a dot after it is dropped)" if lines else "")
            return ".quit"
        except UnicodeDecodeError:
            raise BoostError("not UTF-8") from None
        if line == "." or (not lines and line in (".skip", ".quit")):
            return "\n".join(lines) if line == "." else line
        lines.append(line)


def _printable(text: str) -> str:
    """Text without control characters, which could play tricks on a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
