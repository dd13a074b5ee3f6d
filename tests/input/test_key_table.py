"""A key table tells the least number of each key, whatever was told in which way and order, on disk or not."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowmill.schemas.errors import StorageError
from rowmill.tasks.input import key_table, sorted_run
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.input.key_table import UNKNOWN, KeyTable, key_array


def key(name: int) -> bytes:
    """The key of a name. Every third has the first half of another, which two digests never have."""
    found = blake2b(bytes([name]), digest_size=16).digest()
    return blake2b(b"0", digest_size=8).digest() + found[8:] if name % 3 == 0 else found


@pytest.fixture(params=[4, 64, key_table.HELD_MOST])
def small(request, monkeypatch):
    """Few keys are held in memory, so that runs are merged and written."""
    monkeypatch.setattr(key_table, "HELD_MOST", max(request.param, 4))
    monkeypatch.setattr(key_table, "SLICE_ROWS", 5)
    monkeypatch.setattr(key_table, "BULK_FAN", 3)
    monkeypatch.setattr(sorted_run, "LOOKED_MOST", 2)
    monkeypatch.setattr(sorted_run, "STRETCH", 3)


names = st.integers(0, 30)
told = st.lists(
    st.tuples(st.sampled_from(["claim", "add", "find", "repeated"]), st.lists(names, max_size=20)), max_size=30
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(told=told)
def test_a_key_table_is_a_dictionary(tmp_path, small, told):
    """What is claimed keeps its number; what is added has the least; what was never told is unknown; what was added
    twice is found.
    """
    table, held, added, number = KeyTable(tmp_path), {}, {}, 1_000
    for what, some in told:
        keys = [key(name) for name in some]
        numbers = [number - at if what == "add" else number + at for at in range(len(some))]
        number += 50
        if what == "claim":
            expected = []
            for name, one in zip(some, numbers, strict=True):
                if name not in held:
                    added.setdefault(name, []).append(one)
                expected.append(held.setdefault(name, one))
            assert table.claim(keys, numbers) == expected
        elif what == "add":
            table.add(key_array(keys), np.array(numbers, np.int64))
            for name, one in zip(some, numbers, strict=True):
                held[name] = min(held.get(name, one), one)
                added.setdefault(name, []).append(one)
        elif what == "find":
            assert table.find(key_array(keys)).tolist() == [held.get(name, UNKNOWN) for name in some]
        else:
            again = [(one, min(ones)) for ones in added.values() for one in sorted(ones)[1:]]
            assert sorted(table.repeated()) == sorted(again)
    table.close()
    assert not list(tmp_path.iterdir())


def test_who_paid_owns_a_request_before_who_shared_its_answer(tmp_path):
    """A row that shared an answer owns its request only where no row that paid for it stands."""
    with KeyIndex(tmp_path) as index:
        index.own(key_array([key(1), key(2)]), np.array([3, 4]), np.array([True, True]))
        index.own(key_array([key(1)]), np.array([9]), np.array([False]))
        assert index.owners([(key(1), 20), (key(2), 21), (key(4), 22), (key(4), 23)]) == [9, 4, 22, 22]
        assert index.asks(key_array([key(1), key(4), key(5)])).tolist() == [True, True, False]


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    """An index that cannot be written is an error with a hint, not a traceback."""
    monkeypatch.setattr(key_table, "SLICE_ROWS", 16)
    table = KeyTable(tmp_path / "nowhere")
    with pytest.raises(StorageError):
        for at in range(0, 2_000, 16):
            table.add(
                key_array([blake2b(b"%d" % n, digest_size=16).digest() for n in range(at, at + 16)]), np.arange(16)
            )


def test_keys_of_another_size_are_refused():
    """Keys that would run into each other are an error."""
    with pytest.raises(ValueError, match="16 bytes"):
        key_array([b"short"])


@given(
    keys=st.lists(st.integers(0, 60) | st.integers(0, 2**64 - 1), min_size=1, max_size=60),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=9),
    stretch=st.integers(1, 8),
)
def test_a_guide_finds_the_places_that_all_keys_tell(keys, sizes, stretch):
    """Whatever slices a run is written in, a key is placed as among all keys, and none that stands is said not to."""
    column = np.sort(np.array(keys, np.uint64))
    guide, at = sorted_run.Guide(len(column)), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_run, "STRETCH", stretch)
        while at < len(column):
            guide.add(column[at : at + sizes[at % len(sizes)]])
            at += sizes[at % len(sizes)]
        wanted = np.unique(np.concatenate([column, column + np.uint64(1), [np.uint64(0), np.uint64(2**64 - 1)]]))
        assert guide.places(column, wanted).tolist() == np.searchsorted(column, wanted).tolist()
    assert guide.may_hold(column).all()
