"""World: an input, a job, a gateway and one output; the steps that may befall them, and the law that holds after each.

A step is a word and whole numbers, and has a meaning whatever came before: a walk can be cut anywhere and still be
walked. What the law forbids is raised as `Broken`, with the walk and the books.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.law import runs
from tests.law.gateway import LABELS, PRICES, WEATHERS, Ambush, Call
from tests.law.stage import Bucket, Disk, Place, Stage

ROWS_MOST = 14
CODES = (0, 2, 3, 4, 5, 6, 130)
COMPLETE = (0, 3)
# Caps in USD; a call's worst case is some 0.0015.
CAPS = (None, "0.002", "0.004", "0.007", "0.012", "0.02", "0.05")
PRICE_FACTORS = ("1", "0.5", "2", "1.25")
RETRY_KINDS = ("any", "invalid", "failed", "schema_violation", "internal_error")
DELAYS_MS = (0, 0, 1, 3, 8, 20)
OUTPUT_MOST = 120
ECHO = {
    "type": "object",
    "properties": {"echo": {"type": "string"}, "call": {"type": "integer"}},
    "required": ["echo", "call"],
    "additionalProperties": False,
}


class Broken(AssertionError):
    """The law does not hold. `kind` is the law's name."""

    def __init__(self, kind: str, told: str) -> None:
        super().__init__(f"{kind}: {told}")
        self.kind = kind
        self.walk: tuple[Setting, list[Step]] | None = None


@dataclass(frozen=True)
class Setting:
    """What stays the same over a walk.

    The output stands in a folder, or in a `bucket` that so many `machines` write in turn; a run asks itself, or has the
    workers of a `cluster` ask. A shard has `shard` rows, 0 for as many as the product takes.
    """

    labels: bool = False
    with_id: bool = True
    stream: bool = False
    flash: bool = False
    concurrency: int = 3
    content: int = 2
    seed: int = 0
    packed: int = 1
    shard: int = 0
    bucket: bool = False
    machines: int = 1
    cluster: bool = False

    @property
    def model(self) -> str:
        return "gemini-3-flash" if self.flash else "gemini-3-pro"


@dataclass
class Row:
    """A row of the input file: its id, its text, and the texts it had."""

    id: str
    text: str
    former: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Step:
    """One step of a walk."""

    name: str
    numbers: tuple[int, ...] = ()

    def __str__(self) -> str:
        return " ".join([self.name, *map(str, self.numbers)])


class World:
    """One walk over one output."""

    def __init__(self, folder: Path, stage: Stage, setting: Setting) -> None:
        self.folder, self.stage, self.gateway, self.setting = folder, stage, stage.gateway, setting
        self.place: Place = Bucket(stage.store, folder, setting.machines) if setting.bucket else Disk(folder)
        self.rows: list[Row] = []
        self.gone: list[Row] = []
        self.cap: str | None = None
        self.weather = "calm"
        self.walk: list[Step] = []
        self.runs = 0
        self._made = 0
        # Good answers by request, and the calls that a kill may let be paid again.
        self._checked = 0
        self._answered: dict[str, Call] = {}
        self._cut_off: dict[int, set[int]] = {}
        self._pardons: Counter[int] = Counter()
        # The last calls of runs that were killed, where no other machine can know of them, and what they have cost.
        self._unheard = self._unheard_calls = 0
        self.gateway.reset(setting.seed)
        self.append(3)
        self._write_catalogue("1")

    # Steps.

    def do(self, step: Step) -> None:
        """Take a step, and hold what is left to the law. Raises Broken, runs.Hung."""
        self.walk.append(step)
        method: Callable[..., None] = getattr(self, step.name)
        method(*step.numbers)

    def append(self, count: int) -> None:
        """New rows at the end."""
        for _ in range(min(count, ROWS_MOST - len(self.rows))):
            self.rows.append(Row(f"r{self._made}", self._new_text()))

    def append_same(self, at: int) -> None:
        """A new row that asks what another asks."""
        if len(self.rows) < ROWS_MOST:
            text = self.rows[at % len(self.rows)].text
            self._new_text()
            self.rows.append(Row(f"r{self._made - 1}", text))

    def edit(self, at: int) -> None:
        """Another text for a row."""
        self._put(self.rows[at % len(self.rows)], self._new_text())

    def revert(self, at: int, which: int) -> None:
        """One of its former texts for a row."""
        row = self.rows[at % len(self.rows)]
        if row.former:
            self._put(row, row.former[which % len(row.former)])

    def delete(self, at: int) -> None:
        if len(self.rows) > 1:
            self.gone.append(self.rows.pop(at % len(self.rows)))

    def give_back(self, which: int, at: int) -> None:
        """A deleted row stands in the file again, anywhere."""
        if self.gone and len(self.rows) < ROWS_MOST:
            self.rows.insert(at % (len(self.rows) + 1), self.gone.pop(which % len(self.gone)))

    def move(self, source: int, to: int) -> None:
        row = self.rows.pop(source % len(self.rows))
        self.rows.insert(to % (len(self.rows) + 1), row)

    def roll(self, count: int) -> None:
        """A window that rolls on: rows leave at the beginning, as many come at the end."""
        count = min(count, len(self.rows) - 1)
        self.gone.extend(self.rows[:count])
        del self.rows[:count]
        self.append(count)

    def set_cap(self, which: int) -> None:
        self.cap = CAPS[which % len(CAPS)]

    def set_prices(self, which: int) -> None:
        """The gateway's prices change, and the user's catalogue tells so."""
        self._write_catalogue(PRICE_FACTORS[which % len(PRICE_FACTORS)])

    def set_weather(self, which: int) -> None:
        self.weather = list(WEATHERS)[which % len(WEATHERS)]
        self.gateway.weather = WEATHERS[self.weather]

    def run(self) -> None:
        """To the end."""
        self._run()

    def run_first(self, limit: int) -> None:
        """`-n`."""
        self._run("-n", str(limit), limit=limit)

    def retry(self, kind: int) -> None:
        """`--retry-failed`."""
        self._run("--retry-failed", RETRY_KINDS[kind % len(RETRY_KINDS)], retries=kind % len(RETRY_KINDS) == 0)

    def kill(self, after: int, held: int, answered: int, delay: int, how: int) -> None:
        """A run, or a retry, or the first rows only, killed around its `after`-th call; on a cluster every second time
        the worker that has it.
        """
        self._ambushed(signal.SIGKILL, after, held, answered, delay, how)

    def stop(self, after: int, held: int, answered: int, delay: int, how: int) -> None:
        """The same, stopped by SIGTERM."""
        self._ambushed(signal.SIGTERM, after, held, answered, delay, how)

    def _ambushed(self, number: int, after: int, held: int, answered: int, delay: int, how: int) -> None:
        self.gateway.lie_in_wait(
            Ambush(
                number,
                after=1 + after,
                held=held % self.setting.concurrency,
                answered=bool(answered % 2),
                delay_ms=DELAYS_MS[delay % len(DELAYS_MS)],
                on_worker=self.setting.cluster and number == signal.SIGKILL and (after + held) % 2 == 1,
            )
        )
        half = max(1, len(self.rows) // 2)
        match how % 3:
            case 0:
                self._run()
            case 1:
                self._run("--retry-failed", retries=True)
            case 2:
                self._run("-n", str(half), limit=half)

    def _new_text(self) -> str:
        self._made += 1
        return f"text {self._made - 1}"

    def _put(self, row: Row, text: str) -> None:
        if row.text not in row.former:
            row.former.append(row.text)
        row.text = text

    # A run.

    def _run(self, *flags: str, limit: int | None = None, retries: bool = False) -> None:
        self.runs += 1
        self._write_rows()
        self._write_job()
        before, ambush = self.gateway.billed, self.gateway.ambush
        was = self.place.manifest()
        ended = self._carried_out("label" if self.setting.labels else "run", "job.json", "-q", *flags)
        try:
            self.gateway.quiet()
        except TimeoutError:
            raise Broken("every call ends", f"calls of run {ended.pid} are open long after its end") from None
        self.gateway.lie_in_wait(None)
        is_lost = "the hold on this output was lost" in ended.err
        if ambush is not None and ambush.sprung and ambush.number == signal.SIGKILL:
            self._mourn(ambush.victim, ended.pid)
        elif is_lost:
            # The machine was too busy to renew the hold in its short seconds: as good as killed.
            self._mourn(ended.pid, ended.pid)
        self._no_defect(ended, is_lost=is_lost)
        self._cap_holds(before)
        self._nothing_paid_twice()
        if ended.was_killed or is_lost:
            return
        told = self.place.manifest()
        stopped = ambush is not None and ambush.sprung
        if told is None or (was is not None and told.get("run_id") == was.get("run_id")):
            raise Broken("a manifest", f"exit {ended.code} left no new run.json: {ended.err}")
        found = self.place.results()
        self._ledger_balances(told, found)
        self._rows_stand_once(found, ended.code, limit)
        self._answers_are_their_own(found)
        self._books_agree(told)
        self._calls_are_told(told)
        # A machine that is too busy may be late for a lease.
        stopped = stopped or told["termination"]["code"] == "lease"
        self._ends_as_it_should(ended, stopped=stopped, retries=retries)
        if ended.code in COMPLETE and limit is None:
            self._answered_rows_are_ok(found)

    def _carried_out(self, *args: str) -> runs.Ended:
        stage, gateway, setting = self.stage, self.gateway, self.setting
        environment = self.place.environment(self.runs)
        if setting.cluster:
            stage.cluster.fill()
            environment["ROWMILL_API_KEY"] = runs.CLUSTER_KEY
        gateway.run = None
        haste = runs.HASTE_ON_CLUSTERS if setting.cluster else runs.HASTE_IN_BUCKETS if setting.bucket else runs.HASTE
        return stage.runner.run(
            self.folder, gateway.base_url, *args, environment=environment, shard_rows=setting.shard, haste=haste,
            begun=gateway.begin,
        )  # fmt: skip

    def _write_rows(self) -> None:
        lines = [{"id": row.id, "text": row.text} for row in self.rows]
        (self.folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def _write_job(self) -> None:
        setting = self.setting
        told: dict[str, Any] = {
            "model": setting.model,
            "input": "rows.jsonl",
            "output": self.place.address,
            "prompt": "Answer ⟦{{ text }}⟧",
            "keep": ["text"],
            "catalogue": "catalogue.toml",
            "params": {"max_output_tokens": OUTPUT_MOST, "stream": setting.stream},
            "limits": {"concurrency": setting.concurrency},
            "retries": {"transport": 2, "content": setting.content, "outage_s": 5},
        }
        if setting.with_id:
            told["id"] = "id"
        if setting.cluster:
            told |= {"runner": "dask", "scheduler": self.stage.cluster.address}
        if setting.packed > 1:
            told["rows_per_call"] = setting.packed
        if setting.labels:
            stronger = "gemini-3-pro" if setting.flash else "gemini-3-flash"
            told["label"] = {
                "labels": list(LABELS), "votes": 3, "reason": True, "escalate": {"model": stronger, "votes": 1},
            }  # fmt: skip
        else:
            told["schema"] = ECHO
        if self.cap is not None:
            told["max_cost_usd"] = self.cap
        (self.folder / "job.json").write_text(json.dumps(told))

    def _write_catalogue(self, factor: str) -> None:
        """The built-in catalogue with all prices multiplied; the gateway bills by the same."""
        lines = []
        for line in runs.CATALOGUE.read_text().splitlines():
            name, is_set, value = line.partition(" = ")
            if is_set and name in ("input_usd", "output_usd"):
                line = f'{name} = "{Decimal(value.strip(chr(34))) * Decimal(factor)}"'
            lines.append(line)
        (self.folder / "catalogue.toml").write_text("\n".join(lines) + "\n")
        self.gateway.prices = {
            model: (int(each[0] * Decimal(factor)), int(each[1] * Decimal(factor))) for model, each in PRICES.items()
        }

    # The law.

    def _no_defect(self, ended: runs.Ended, *, is_lost: bool) -> None:
        if "Traceback" in ended.err or (not ended.was_killed and ended.code not in CODES):
            raise Broken("no defect", f"exit {ended.code}: {ended.err}")
        if ended.code in (2, 5) and not is_lost:
            raise Broken("nothing to refuse", f"exit {ended.code}: {ended.err}")

    def _cap_holds(self, before: int) -> None:
        """No call is sent that could pass the cap in force."""
        if self.cap is None:
            return
        billed, cap = self.gateway.billed, runs.pico(self.cap)
        if billed > max(cap + self._unheard, before):
            raise Broken("the cap holds", f"cap {usd(cap)}, billed before {usd(before)}, now {usd(billed)}")

    def _mourn(self, victim: int, run: int) -> None:
        """What was killed had at most so many calls in flight as its concurrency: so many may be paid again."""
        calls = [call for call in self.gateway.calls if call.run == run and victim in (run, call.process)]
        rows = self.setting.concurrency * self.setting.packed
        last = calls[-2 * rows :]
        self._cut_off.setdefault(run, set()).update(call.number for call in last)
        self._pardons[run] += rows
        if self.setting.machines > 1:
            self._unheard += sum(sorted(call.billed for call in last)[-rows:])
            self._unheard_calls += rows

    def _nothing_paid_twice(self) -> None:
        """A request whose good answer arrived is never sent again, but for those in flight at a kill."""
        calls, self._checked = self.gateway.calls[self._checked :], len(self.gateway.calls)
        for call in calls:
            had = self._answered.get(call.key)
            if had is not None:
                if not self._is_pardoned(had):
                    raise Broken("no good answer is asked for again", f"{had}\nthen {call}")
                # It was lost with its run: whatever the request is sent for until it is answered is one.
                del self._answered[call.key]
            if call.good and call.delivered:
                self._answered[call.key] = call

    def _is_pardoned(self, had: Call) -> bool:
        if had.number not in self._cut_off.get(had.run, ()) or not self._pardons[had.run]:
            return False
        self._pardons[had.run] -= 1
        return True

    def _books_agree(self, told: dict[str, Any]) -> None:
        known, bound, billed = runs.known_usd(told), runs.bound_usd(told), self.gateway.billed
        if known > billed:
            raise Broken("known ≤ billed", f"known {usd(known)} (bound {usd(bound)}), billed {usd(billed)}")
        if billed > known + bound + self._unheard:
            raise Broken("billed ≤ known + bound", f"known {usd(known)}, bound {usd(bound)}, billed {usd(billed)}")

    def _calls_are_told(self, told: dict[str, Any]) -> None:
        """Each request that came is a call."""
        calls = told["totals"]["calls"] + told["beside"]["calls"]
        if calls < self.gateway.posts - self._unheard_calls:
            raise Broken("every call is told", f"{self.gateway.posts} requests came, {calls} are told")

    def _ledger_balances(self, told: dict[str, Any], found: list[dict[str, Any]]) -> None:
        ledger, totals = told["ledger"], told["totals"]
        counts = Counter(row["status"] for row in found)
        if ledger["rows"] != sum(ledger[name] for name in (*runs.STATUSES, "not_attempted")) or any(
            ledger[name] != counts[name] for name in runs.STATUSES
        ):
            raise Broken("the ledger balances", f"{ledger}, results {dict(counts)}")
        sums = {
            "cost_usd": sum(runs.pico(row["cost_usd"]) for row in found),
            "cost_credits": sum(runs.pico(row["cost_credits"]) for row in found),
            "wasted_cost_usd": sum(runs.pico(row["wasted_cost_usd"]) for row in found),
        }
        for name, pico in sums.items():
            if runs.pico(totals[name]) != pico:
                raise Broken("totals are sums over the rows", f"{name} {totals[name]}, rows {usd(pico)}")
        for name, column in (
            ("input_tokens", "input_tokens"), ("output_tokens", "output_tokens"), ("thought_tokens", "thought_tokens"),
            ("calls", "attempts"),
        ):  # fmt: skip
            summed = sum(row[column] for row in found)
            # A call for several rows is an attempt of each of them.
            joined = name == "calls" and self.setting.packed > 1
            if totals[name] > summed or (totals[name] < summed and not joined):
                raise Broken(
                    "totals are sums over the rows", f"{name} {totals[name]}, rows {[r[column] for r in found]}"
                )

    def _rows_stand_once(self, found: list[dict[str, Any]], code: int, limit: int | None) -> None:
        """Every row of the input exactly once, in its order, and as it stands there now."""
        indices = [row["row_index"] for row in found]
        if indices != sorted(set(indices)):
            raise Broken("every row once", f"results hold the rows {indices}")
        wanted = len(self.rows) if limit is None else min(limit, len(self.rows))
        if code in COMPLETE and (indices[:wanted] != list(range(wanted)) or (limit is None and len(found) != wanted)):
            raise Broken("every row once", f"{len(self.rows)} rows, limit {limit}, results hold {indices}")
        for row in found:
            if row["row_index"] >= len(self.rows):
                raise Broken("every row once", f"row {row['row_index']} is none of the {len(self.rows)} rows")
            own = self.rows[row["row_index"]]
            row_id = own.id if self.setting.with_id else str(row["row_index"])
            if (row["row_id"], row["text"]) != (row_id, own.text):
                raise Broken("each row is its own", f"{own}, results {row['row_id']!r} {row['text']!r}")

    def _answers_are_their_own(self, found: list[dict[str, Any]]) -> None:
        """An answer names the text that stands in its row, and a good one a call that was made for it."""
        for row in found:
            for told in [row, *(row.get("votes") or [])]:
                if (text := told["response_text"]) is not None:
                    self._names(row["text"], told["status"], text)
            if self.setting.labels and row["status"] == "ok":
                self._votes_are_cast_once(row)

    def _names(self, text: str, status: str, response: str) -> None:
        answer = json.loads(response)
        named, number = _signature(answer)
        if named != text:
            raise Broken("the right answer in the right row", f"{text!r} holds {response}")
        if status == "ok":
            calls = self.gateway.calls
            if number is None or number >= len(calls) or calls[number].text != text or not calls[number].good:
                raise Broken("the right answer in the right row", f"{text!r} holds {response}, no such call")

    def _votes_are_cast_once(self, row: dict[str, Any]) -> None:
        votes = [vote for vote in row["votes"] if vote["response_text"] is not None and vote["status"] == "ok"]
        numbers = [_signature(json.loads(vote["response_text"]))[1] for vote in votes]
        keys = [self.gateway.calls[number].key for number in numbers if number is not None]
        if len(set(keys)) != len(keys):
            raise Broken("each vote is cast once", f"{row['text']!r}: calls {numbers}")
        if row["label"] is not None and row["label"] not in {vote["label"] for vote in votes}:
            raise Broken("the label is one that was voted for", f"{row['text']!r} {row['label']}")

    def _answered_rows_are_ok(self, found: list[dict[str, Any]]) -> None:
        """A row whose request was answered well before is ok once a run is complete."""
        if self.setting.labels:
            return
        settled = {call.text for call in self._answered.values() if call.run not in self._cut_off}
        for row in found:
            if row["text"] in settled and row["status"] != "ok":
                raise Broken("what was answered well is ok", f"{row['text']!r} is {row['status']}")

    def _ends_as_it_should(self, ended: runs.Ended, *, stopped: bool, retries: bool) -> None:
        """In calm weather, without a cap and a signal, every row can be had."""
        weather = WEATHERS[self.weather]
        if self.cap is None and not stopped and weather.is_calm:
            wanted = (0,) if retries else COMPLETE
            if ended.code not in wanted:
                raise Broken("calm weather ends well", f"exit {ended.code}: {ended.err}")

    # What is shown.

    def told(self) -> str:
        """The walk as a script, and the books."""
        totals = self.place.manifest() or {}
        shown = {name: totals.get(name) for name in ("totals", "beside", "ledger", "termination")}
        return "\n".join(
            [
                f"setting: {self.setting}",
                "walk:",
                *(f"  {step}" for step in self.walk),
                "rows:",
                *(f"  {row.id} {row.text!r}" for row in self.rows),
                f"weather {self.weather}, cap {self.cap}, prices {self.gateway.prices}",
                "books:",
                *(f"  {call}" for call in self.gateway.calls[-60:]),
                f"billed {usd(self.gateway.billed)}",
                json.dumps(shown, indent=1),
            ]
        )


def _signature(answer: dict[str, Any]) -> tuple[str, int | None]:
    """The text an answer names, and the number of its call."""
    if "echo" in answer:
        number = answer["call"]
        return answer["echo"], number if isinstance(number, int) else None
    named, _, number = answer["reason"].rpartition("#")
    return named, int(number)


def usd(pico: int) -> str:
    return f"${Decimal(pico) / runs.PICO:.9f}"
