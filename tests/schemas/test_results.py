"""Columns of the results."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.price import PICO
from rowmill.schemas.results import MONEY, money_array


@given(st.lists(st.none() | st.integers(-(10**17), 10**17), max_size=20))
def test_money_columns_hold_exactly_what_was_counted(amounts):
    """10⁻¹² units become decimal128(18, 12) without a digit lost."""
    column = money_array(amounts)
    assert column.type == MONEY
    column.validate(full=True)
    assert [None if v is None else int(v * PICO) for v in column.to_pylist()] == amounts
    assert pa.types.is_decimal(column.type)
