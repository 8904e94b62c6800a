"""Prompts over devices: in order, equally many each, padded at the end."""

import numpy as np
import pytest

from boostlm.engine.prompt_shards import split_prompts


@pytest.mark.parametrize("prompts", [1, 7, 8, 22])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_rows_come_back_as_they_were_put(devices, count, prompts):
    shards = split_prompts(devices[:count], prompts)
    assert shards.own == range(prompts)
    assert shards.places % count == 0
    assert prompts <= shards.places < prompts + count
    rows = np.arange(prompts * 3, dtype=np.int32).reshape(prompts, 3)
    on_devices = shards.put(rows, fill=-1)
    assert on_devices.shape == (shards.places, 3)
    assert {s.data.shape for s in on_devices.addressable_shards} == {(shards.places // count, 3)}
    assert np.all(np.asarray(on_devices)[prompts:] == -1)
    np.testing.assert_array_equal(shards.local(on_devices), rows)
    np.testing.assert_array_equal(shards.whole(on_devices), rows)


class Device:
    def __init__(self, id_, process_index):
        self.id, self.process_index = id_, process_index


def test_devices_of_a_host_are_neighbours():
    """On a TPU slice the numbers of a host's chips are not."""
    from boostlm.engine.prompt_shards import by_host

    mixed = [Device(i, process) for i, process in enumerate([0, 0, 1, 1, 0, 0, 1, 1])]
    assert [d.id for d in by_host(mixed)] == [0, 1, 4, 5, 2, 3, 6, 7]
