"""The endpoint labeler as tests ask it: a config, queries, and what comes of them, without sleep."""

import threading
from dataclasses import replace

from boostlm.config import Config, EndpointConfig, LabelConfig
from boostlm.config_checks import validate
from boostlm.errors import BoostError
from boostlm.labelers.base import Query
from boostlm.labelers.endpoint import QUESTION, endpoint_labeler
from support.chat_server import KEY, completion


def config_for(url, cost=1.0, **settings):
    settings = {"model": "m", "concurrency": 4, "timeout": 5.0} | settings
    label = LabelConfig(labeler="endpoint", cost=cost, endpoint=EndpointConfig(url=url, **settings))
    return validate(replace(Config(), label=label))


def queries(count):
    return [Query(0, 1, n, 0, f"prompt {n}") for n in range(count)]


def prompt_of(body):
    """The number of the prompt that a request asks for; -1 for the plain question."""
    text = body["messages"][0]["content"]
    return -1 if text == QUESTION else int(text.split()[-1])


def echo(number, body):
    return completion(body["messages"][0]["content"].upper())


def ask(server_or_url, asked, spent=0.0, waits=None, **settings):
    """(labels by prompt, the error that ended the labeling or None).

    `asked` are queries, or how many; `waits` is a list that takes the seconds of each wait.
    """
    waits = [] if waits is None else waits

    def pause(stopping: threading.Event, seconds):
        waits.append(seconds)
        return stopping.is_set()

    url = getattr(server_or_url, "url", server_or_url)
    asked = queries(asked) if isinstance(asked, int) else asked
    labels = {}
    try:
        for batch in endpoint_labeler(config_for(url, **settings), lambda: spent, pause)(asked):
            for query, label in batch:
                assert (query.prompt, query.sample) not in labels
                labels[query.prompt, query.sample] = label
    except BoostError as error:
        said = str(error)
    else:
        said = None
    one_each = {prompt: label for (prompt, sample), label in labels.items() if sample == 0}
    for text in (said or "", *(label.unanswered for label in labels.values())):
        assert KEY not in text
        assert "\n" not in text
        text.encode()
    return (one_each if len(one_each) == len(labels) else labels), said
