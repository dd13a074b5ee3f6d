"""Plots: well-formed, within their frame, and told in words."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from rowmill.tasks.report.figures import Histogram
from rowmill.tasks.report.plots import HEIGHT, WIDTH, bars, curve, lying_bars, ticks

amounts = st.floats(0, 1e9, allow_subnormal=False)
NUMBER = re.compile(r"[MHV ](-?[0-9.]+)")


def drawn(svg: str) -> ElementTree.Element:
    """The picture, after a look that no line leaves it."""
    root = ElementTree.fromstring(svg)
    width, height = (float(part) for part in root.attrib["viewBox"].split()[2:])
    assert width == WIDTH
    for path in root.iter("path"):
        assert all(-1 <= float(value) <= max(width, height) for value in NUMBER.findall(path.attrib["d"]))
    for text in root.iter("text"):
        assert 0 <= float(text.attrib["x"]) <= width + 20
        assert 0 <= float(text.attrib["y"]) <= height
        if "transform" not in text.attrib:
            # A character takes 6.6 at the most, and no text is cut.
            size, x = 6.6 * len(text.text or ""), float(text.attrib["x"])
            begins = x - size * {"start": 0, "middle": 0.5, "end": 1}[text.attrib["text-anchor"]]
            assert -1 <= begins <= begins + size <= width + 1, text.text
            assert "e" not in (text.text or "") or not (text.text or "e")[0].isdigit()
    return root


@given(st.lists(amounts, min_size=1, max_size=50), st.booleans())
def test_a_curve_of_any_values_is_a_picture(values, limited):
    """Also one of a single value, and one of nothing but zeros."""
    times = [float(at) for at in range(len(values))]
    svg = curve(times, values, across="seconds", up="USD", words="so & <so>", limit=values if limited else ())
    root = drawn(svg)
    assert root.attrib["viewBox"].endswith(f" {HEIGHT:.0f}")
    assert root.attrib["aria-label"] == "so & <so>"


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=40).filter(any), st.floats(1e-6, 1e9))
def test_a_histogram_of_any_counts_is_a_picture(counts, most):
    """A bar for each count above zero, and its marks."""
    edges = [most * at / len(counts) for at in range(len(counts) + 1)]
    root = drawn(bars(Histogram(edges, counts, most / 2, most), across="seconds", words="w"))
    assert sum(path.attrib.get("opacity") == "0.8" for path in root.iter("path")) == sum(map(bool, counts))
    assert {"p50", "p95"} <= {text.text for text in root.iter("text")}


@given(st.lists(st.tuples(st.text("<&abc_", min_size=1, max_size=25), st.integers(1, 10**6)), min_size=1, max_size=12))
def test_named_counts_keep_names_and_order(counts):
    """Each name stands beside its count, escaped, in the order given."""
    root = drawn(lying_bars(counts, across="attempts", words="w"))
    texts = [text.text for text in root.iter("text")]
    assert texts[: 2 * len(counts)] == [part for name, count in counts for part in (name, f"{count:,}")]


@given(st.floats(1e-6, 1e12), st.booleans())
def test_ticks_are_few_and_round(most, whole):
    """From zero, at most seven, none beyond the largest value; whole numbers where they count things."""
    found = ticks(most, whole=whole)
    assert found[0] == 0
    assert len(found) <= 7
    assert found[-1] <= most * (1 + 1e-9)
    assert not whole or all(value == int(value) for value in found)
