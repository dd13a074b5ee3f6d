"""What stands before a run is left out of the looks for garbage, and comes back."""

from __future__ import annotations

import gc

from rowmill.tasks.system.collector import older_objects_left_out


def test_older_objects_are_left_out_for_a_while():
    """Left out once, however the calls are nested, and looked through again at the end, whatever ended it."""
    gc.unfreeze()
    try:
        with older_objects_left_out():
            assert gc.get_freeze_count() > 0
            with older_objects_left_out():
                assert gc.get_freeze_count() > 0
            assert gc.get_freeze_count() > 0
            raise KeyError
    except KeyError:
        pass
    assert gc.get_freeze_count() == 0
