"""A few MBPP problems of our own, in the form of the data set."""

import json

from boostlm.tasks.mbpp.check import MbppProblem
from support.data_sets import FIXTURES

NUMBERS = [1, 511, 512, 11, 12, 13, *range(601, 609)]


def fixture_records():
    """The fixtures, numbered so that every official split has some."""
    lines = (FIXTURES / "mbpp_fixture.jsonl").read_text().splitlines()
    problems = [MbppProblem.from_dict(json.loads(line)) for line in lines]
    return [
        {
            "task_id": number,
            "text": p.text,
            "code": p.reference,
            "test_setup_code": p.setup,
            "test_list": list(p.tests),
            "challenge_test_list": list(p.challenge_tests),
        }
        for number, p in zip(NUMBERS, problems[: len(NUMBERS)], strict=True)
    ]


def write(folder, records):
    folder.mkdir(exist_ok=True)
    (folder / "mbpp.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return folder
