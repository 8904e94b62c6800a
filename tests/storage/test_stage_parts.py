"""Each host's file of a stage: any number of hosts reads what any other number wrote."""

import numpy as np
import pytest

from boostlm.storage.stage_parts import Part, load_all, load_part, save_part, stage_name

N = 22
ARRAYS = {"tokens": np.arange(N * 6, dtype=np.int32).reshape(N, 2, 3), "ok": np.arange(N) % 3 == 0}
ENDS = {1: [0, 22], 2: [0, 12, 22], 3: [0, 8, 16, 22], 4: [0, 6, 12, 18, 22], 5: [0, 22, 22]}


def parts(hosts):
    return [Part(a, b, N) for a, b in zip(ENDS[hosts], ENDS[hosts][1:], strict=False)]


def save(stage, hosts, but=()):
    for i, part in enumerate(parts(hosts)):
        if i not in but:
            save_part(stage, part, **{n: x[part.start : part.stop] for n, x in ARRAYS.items()})


@pytest.mark.parametrize("wrote", ENDS)
@pytest.mark.parametrize("reads", ENDS)
def test_another_number_of_hosts_reads_the_same(folder, wrote, reads):
    stage = folder / "samples.npz"
    save(stage, wrote)
    assert {stage_name(p.name) for p in folder.iterdir()} == {"samples.npz"}
    for part in parts(reads):
        arrays, there = load_part(stage, tuple(ARRAYS), part)
        assert there.tolist() == [True] * (part.stop - part.start)
        for name, x in ARRAYS.items():
            np.testing.assert_array_equal(arrays[name], x[part.start : part.stop])
            assert arrays[name].dtype == x.dtype
    for name, x in load_all(stage, tuple(ARRAYS)).items():
        np.testing.assert_array_equal(x, ARRAYS[name])


def test_one_host_writes_the_file_of_all_prompts(folder):
    save(folder / "samples.npz", 1)
    assert [p.name for p in folder.iterdir()] == ["samples.npz"]


def test_a_stage_without_one_of_its_parts_has_not_committed(folder):
    stage, names = folder / "samples.npz", tuple(ARRAYS)
    assert load_all(stage, names) is load_part(stage, names, Part(0, 12, N)) is None
    save(stage, 3, but=[1])
    assert load_all(stage, names) is None
    arrays, there = load_part(stage, names, Part(6, 18, N))
    assert there.tolist() == [True] * 2 + [False] * 8 + [True] * 2
    np.testing.assert_array_equal(arrays["tokens"][there], ARRAYS["tokens"][[6, 7, 16, 17]])
    save(stage, 2)  # parts of another number of hosts stand beside them
    np.testing.assert_array_equal(load_all(stage, names)["tokens"], ARRAYS["tokens"])


def test_a_torn_part_is_missing_and_named(folder):
    stage = folder / "samples.npz"
    save(stage, 2)
    torn = folder / "samples.12-22-of-22.npz"
    torn.write_bytes(torn.read_bytes()[:-10])
    with pytest.warns(UserWarning, match=r"samples.12-22-of-22.npz is torn"):
        assert load_all(stage, tuple(ARRAYS)) is None
    assert load_part(stage, tuple(ARRAYS), Part(0, 12, N))[1].all()


def test_files_of_other_stages_are_not_parts(folder):
    for name in ("partial_samples.npz", "samples.old.npz", "samples.0-2-of-2.npz.1a.tmp"):
        (folder / name).write_bytes(b"")
    assert load_all(folder / "samples.npz", tuple(ARRAYS)) is None
