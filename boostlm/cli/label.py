"""boostlm label: reads people's answers from the terminal or a file."""

from etils import epath

from boostlm.config_io import arm_config, arms_of
from boostlm.errors import BoostError
from boostlm.labelers.base import Query
from boostlm.labelers.people import describe, open_queries, record, take_file, tidy
from boostlm.storage.run_dir import RunDir
from boostlm.user_code import open_path

_HELP = """\
Type each answer in one or more lines. A line with only a dot ends it. Type .skip to leave a prompt
for later or .quit to stop. Every answer is saved at once."""


def label_run(run_dir: RunDir, file: str | None) -> None:
    """Reads and saves answers for a run that waits for people.

    Args:
      run_dir: the run directory.
      file: a filled-in copy of the queue, CSV or JSONL; None asks in the terminal.

    Raises:
      BoostError: the run's labeler is not people, or rows of the file were rejected. The other
        rows are saved.
    """
    config = run_dir.read_config()
    asked = [arm_config(config, arm).label.labeler for arm in arms_of(config).values()]
    if "people" not in asked:
        raise BoostError(
            f"{run_dir.name} has label.labeler {config.label.labeler}: boostlm label needs a run "
            "with label.labeler people"
        )
    folder = run_dir.people_folder
    with run_dir.locked():
        if file is None:
            _ask(folder, open_queries(folder))
            print(_what_is_left(folder))
            return
        taken = take_file(folder, open_path(file, "--from"))
        known = f", {taken.known} already known" if taken.known else ""
        print(f"{taken.new} new answers{known}. {_what_is_left(folder)}")
        if taken.problems:
            raise BoostError(
                f"{file}: {len(taken.problems)} rows were rejected, the others are saved:\n"
                + describe(taken.problems)
            )
        if not taken.new and not taken.known:
            raise BoostError(f"{file} has no rows")


def _what_is_left(folder: epath.Path) -> str:
    left = len(open_queries(folder))
    return f"{left} still missing" if left else "All are answered: continue with boostlm run"


def _ask(folder: epath.Path, queries: list[Query]) -> None:
    """Asks the queries one by one, until none is left, .quit, or the end of input."""
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
    """Reads lines up to a dot, or a command. The end of input means .quit."""
    lines: list[str] = []
    while True:
        try:
            line = input("> ").rstrip("\r")
        except EOFError:
            print(
                "\n(end of input: an answer without a dot after it was discarded)" if lines else ""
            )
            return ".quit"
        except UnicodeDecodeError:
            raise BoostError("not UTF-8") from None
        if line == "." or (not lines and line in (".skip", ".quit")):
            return "\n".join(lines) if line == "." else line
        lines.append(line)


def _printable(text: str) -> str:
    """Text with control characters escaped, because they could manipulate the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
