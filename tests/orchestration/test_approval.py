"""Approval: a bill above the limit is shown first, and what was approved is the cap."""

from __future__ import annotations

from decimal import Decimal

import pytest

from rowmill.flows.orchestration.approval import Bill, answering, ask_terminal, bill_of, rounded, sum_of, under
from rowmill.schemas.errors import JobError
from rowmill.schemas.forecast import Basis, Forecast, Pace, RowCounts
from rowmill.schemas.job import Job
from tests.conftest import Bench, money
from tests.gateways import Reply, serving

BILL = Bill("night", 100, 1.0, 0.9, 1.1, 1.20001, None, "pilot")


def job(**keys) -> Job:
    return Job(model="gemini-3-pro", input="rows.jsonl", output="out", prompt="x", **keys)


@pytest.mark.parametrize(
    ("answer", "approved_sum"),
    [("y", "1.2001"), (" YES ", "1.2001"), ("2.50", "2.5"), ("$1,000", "1000"), ("0.5", "0.5")],
)
def test_a_terminal_approves_the_bound_or_a_sum(answer, approved_sum, capsys):
    """The forecast with its interval is shown first, and the sum that yes means."""
    assert ask_terminal(BILL, lambda _: answer) == Decimal(approved_sum)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "100 rows to ask, 1.0000 USD (95 % interval 0.9000 to 1.1000), at most 1.2000 USD" in shown.err
    assert "at most 1.2001 USD?" in shown.err


@pytest.mark.parametrize("answer", ["", "n", "no", "0", "-1", "nan", "inf", "yesterday"])
def test_everything_else_is_no(answer):
    """Nothing is sent then."""
    with pytest.raises(JobError, match="not approved"):
        ask_terminal(BILL, lambda _: answer)


def test_the_end_of_input_is_no():
    """A terminal that closes approves nothing."""

    def closed(_: str) -> str:
        raise EOFError

    with pytest.raises(JobError, match="not approved"):
        ask_terminal(BILL, closed)


def test_what_is_approved_caps_the_run_and_widens_no_cap():
    """A job's own cap stays where it is lower."""
    assert under(job(), Decimal(2)).max_run_cost_usd == 2
    assert under(job(max_run_cost_usd=1), Decimal(2)).max_run_cost_usd == 1
    assert under(job(max_run_cost_usd=3), Decimal(2)).max_run_cost_usd == 2
    assert rounded(0.00001) == Decimal("0.0001")
    assert sum_of("1e3") == 1000


def test_a_comma_is_never_taken_for_another_sum():
    """Whoever answers 0,50 has not approved 50: a comma stands between thousands or there is no sum."""
    told = [
        sum_of(text) for text in ("$1,250.50", "12,500", "0,50", "1,5", "1,00", "1,2345", ",5", "1,,000", "nan", "inf")
    ]
    assert told == [Decimal("1250.50"), 12500, None, None, None, None, None, None, None, None]


def test_without_a_terminal_a_large_bill_is_refused_and_yes_approves_it(bench: Bench) -> None:
    """Exit 2 with the ways out and nothing sent; `--yes` goes on under the forecast's bound; below the limit nobody is
    asked, and the limit is what the run may spend.
    """
    with serving(lambda ask: Reply(text="fine")) as gateway:
        bench.rows([{"id": f"r{n}", "text": f"t{n}"} for n in range(20)])
        bench.job(id="id", params={"max_output_tokens": 400})
        command = ("run", "job.yaml", "--direct", "--json", "--approve-over")
        refused = bench.run(gateway.url, *command, "0.0001")
        assert refused.code == 2, refused.err
        for way in ("--yes", "terminal", "approve_over"):
            assert way in refused.err
        assert not gateway.asks
        assert bench.run(gateway.url, *command, "0").code == 2
        small = bench.run(gateway.url, *command, "0.02", "-n", "1")
        assert (small.code, small.manifest["job"]["max_run_cost_usd"]) == (0, "0.02"), small.err
        yes = bench.run(gateway.url, *command, "0.0001", "--yes")
        assert yes.code in (0, 4), yes.err
        assert float(yes.manifest["job"]["max_run_cost_usd"]) > 0.0001
        assert float(gateway.books()["billed_usd"]) <= 0.02 + float(yes.manifest["job"]["max_run_cost_usd"])


def test_an_unknown_price_cannot_be_approved():
    """There is no bill to show."""
    forecast = Forecast(
        job="", model="m", made_at="", basis=Basis.PRIOR, rows=RowCounts(1, 0, 0, 0, 0, 1), input_tokens=1,
        output_tokens=1, media=0, sample=None, cost_usd=None, credits_per_usd=None, ceiling_usd=None, spent_usd=0,
        per_1000_rows_usd=None, pace=Pace(None, ""), rows_beyond_cap=None, intercept_usd=0, usd_per_token=0, notes=[],
    )  # fmt: skip
    with pytest.raises(JobError, match="price is unknown"):
        bill_of(job(), forecast)


@pytest.mark.parametrize(
    ("answer", "sum_approved"), [(True, "1.2001"), (1, "1"), (0.5, "0.5"), ("2 USD", "2"), (Decimal("0.3"), "0.3")]
)
async def test_a_function_of_the_callers_approves(answer, sum_approved):
    """True means the bound, a number means itself, whether the function is awaited or not."""

    async def later(bill: Bill):
        return answer

    for approve in (lambda bill: answer, later):
        assert await answering(approve, 1.0)(BILL) == Decimal(sum_approved)


@pytest.mark.parametrize("answer", [False, None, 0, -1, "no", float("nan"), float("inf")])
async def test_what_approves_nothing_is_refused(answer):
    """Nothing is sent; without a function the way out is named."""
    with pytest.raises(JobError, match="not approved"):
        await answering(lambda bill: answer, 1.0)(BILL)
    with pytest.raises(JobError, match="ive approve="):
        await answering(None, 1.0)(BILL)


def test_a_run_from_python_goes_on_under_what_was_approved(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bill is handed over before the first call; refused, nothing is sent; approved in part, no more is spent."""
    import rowmill

    bills: list[rowmill.Bill] = []

    def approve(bill: rowmill.Bill) -> object:
        bills.append(bill)
        return 0.02 if len(bills) == 2 else False

    with serving(lambda ask: Reply(text="x")) as gateway:
        monkeypatch.setenv("ROWMILL_BASE_URL", gateway.url)
        monkeypatch.setenv("ROWMILL_API_KEY", "sk-tests-0123456789abcdef")
        bench.rows([{"text": f"t{n}"} for n in range(200)])
        path = bench.job(params={"max_output_tokens": 400}, limits={"concurrency": 4})
        asked = {"progress": False, "report": False, "approve_over": 0.001}
        made = rowmill.Job.load(path)
        with pytest.raises(rowmill.RowmillError, match="ive approve="):
            rowmill.run(made, **asked)
        with pytest.raises(rowmill.RowmillError, match="not approved"):
            rowmill.run(made, **asked, approve=approve)
        with pytest.raises(rowmill.RowmillError, match="no sum of money"):
            rowmill.run(made, progress=False, approve=approve)
        assert not gateway.asks
        with pytest.raises(rowmill.Stopped) as stopped:
            rowmill.run(made, **asked, approve=approve)
        assert stopped.value.manifest["termination"]["kind"] == "budget"
        assert 0 < money(gateway.books()["billed_usd"]) <= Decimal("0.02")
        assert bills[0].rows == 200
