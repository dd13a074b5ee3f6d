"""Many labels from the outside: each is named once, the labels are as right, and rows that share a call share their list."""

from __future__ import annotations

from tests.acceptance.test_label import calls, job, labelled

NAMES = [f"topic {n}, of many" for n in range(60)]


def test_sixty_labels_are_named_once_and_told_right(bench, sandboxes):
    """Every row gets its label from the list alone, asked by itself and several rows a call."""
    rows = [{"id": f"r{n}", "text": f"ticket {n:05d} says this", "truth": NAMES[n * 7 % 60]} for n in range(12)]
    sandbox = sandboxes(labels={row["text"][:17]: row["truth"] for row in rows})
    bench.rows(rows)
    job(bench, {"labels": NAMES})
    once = labelled(bench, sandbox.base_url)
    assert once["job"]["label"]["enum"] == "few"
    assert once["label"]["gold"]["right"] == 12
    assert bench.results()["repair"].null_count() == 12
    paid = calls(sandbox)
    job(bench, {"labels": NAMES, "order": "vote"}, rows_per_call=6, output="packs")
    packs = labelled(bench, sandbox.base_url)
    assert packs["label"]["gold"]["right"] == 12
    assert calls(sandbox) == paid + 2
    assert packs["totals"]["input_tokens"] < 0.35 * once["totals"]["input_tokens"]
