"""Run shares: what the rows of a run say, counted from their columns."""

from __future__ import annotations

import pyarrow as pa

from rowmill.tasks.report.run_shares import _filled

PRICES = pa.map_(pa.string(), pa.float64())


def test_values_that_say_something_are_counted_whatever_their_type():
    """Null, blank text, an empty list and an empty map say nothing; also in a part of a column."""
    held = [[("a", 1.0)], [], None, [("a", None), ("b", 2.0)]]
    assert _filled(pa.array(held, PRICES)) == 2
    assert _filled(pa.array(held, PRICES).slice(1)) == 1
    inside = pa.array([{"m": one} for one in held], pa.struct([("m", PRICES)]))
    assert _filled(pa.compute.struct_field(inside.slice(2), ["m"])) == 1
    assert _filled(pa.array([[1], [], None], pa.list_(pa.int64()))) == 1
    assert _filled(pa.array(["a", " ", "", None])) == 1
    assert _filled(pa.array([0, None])) == 1
