"""Money at every bend of the road: whatever becomes of rows and parts, what was paid is known, capped, and paid once."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import KEY, PERSON, Bench, Ended, money
from tests.gateways import Ask, Gateway, Reply, answer_to, assert_books, names_its_request

PRO, FLASH = "gemini-3-pro", "gemini-3-flash"
LABELS = ["billing", "shipping", "praise", "other"]
VOTES = 5
WRONG = Reply(text='{"name": 7}', good=False)


def person(ask: Ask) -> Reply:
    """An answer that meets the schema and names its request."""
    return Reply(text=json.dumps({"name": ask.prompt, "n": ask.seen}))


def ask_twice(ask: Ask) -> Reply:
    """The first answer to each prompt is wrong, and billed."""
    return person(ask) if ask.seen else WRONG


def always_wrong(_: Ask) -> Reply:
    return WRONG


def a_third_wrong(ask: Ask) -> Reply:
    """Persons whose number can be divided by three get no right answer yet."""
    return person(ask) if number_in(ask.prompt) % 3 else WRONG


def number_in(prompt: str) -> int:
    return int(prompt.rpartition(" ")[2])


def vote(_: Ask) -> Reply:
    return Reply(text='{"label": "billing"}', input=100)


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"id": f"r{n}", "text": f"person {n:04d}"} for n in range(first, first + count)]


def direct(bench: Bench, url: str, *args: str, command: str = "run") -> Ended:
    ended = bench.run(url, command, "job.yaml", "--direct", "--json", *args)
    assert "Traceback" not in ended.err, ended.err
    assert ended.code != 1, ended.err
    return ended


def stop(bench: Bench, gateway: Gateway, calls: int, number: int, *args: str) -> None:
    """Start the job, and send it a signal once so many more calls have arrived."""
    before = len(gateway.asks)
    process = bench.start(gateway.url, "run", "job.yaml", "--direct", "-q", *args)
    gateway.wait_for(before + calls)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGKILL, 130), err
    gateway.quiet()


def labelling_job(bench: Bench, **keys: Any) -> None:
    label = {"labels": LABELS, "votes": VOTES}
    bench.job(id="id", prompt="{{ text }}", label=label, params={"max_output_tokens": 400}, **keys)


def test_ten_nights_of_votes_under_a_cap_cost_no_more_than_the_cap(bench, gateways):
    """Five votes a row, a cap, and a file that grows by a row each night: ten nights together stay within the cap."""
    gateway = gateways(vote)
    labelling_job(bench, max_cost_usd=0.03)
    for night in range(10):
        bench.rows(rows(40 + night))
        assert direct(bench, gateway.url, command="label").code == 4
        assert_books(bench, gateway, "0.03", exact=True)
    assert direct(bench, gateway.url, "--max-cost", "5", command="label").code == 0
    assert_books(bench, gateway, exact=True)
    assert gateway.paid_again(VOTES) == 0
    assert max(gateway.good_by_request.values()) == 1


def test_nights_of_answers_asked_again_under_a_cap_cost_no_more_than_the_cap(bench, gateways):
    """Rows whose first answers were wrong keep what those cost while the file grows, night after night."""
    gateway = gateways(always_wrong)
    bench.job(id="id", schema=PERSON, retries={"content": 30}, params={"max_output_tokens": 400}, max_cost_usd=0.05)
    for night in range(4):
        bench.rows(rows(20 + night))
        assert direct(bench, gateway.url).code == 4
        assert_books(bench, gateway, "0.05", exact=True)
    gateway.script = person
    assert direct(bench, gateway.url, "--max-cost", "5").code == 0
    assert_books(bench, gateway, exact=True)
    assert gateway.paid_again() == 0


def test_retrying_failed_rows_again_and_again_stays_within_the_cap(bench, gateways):
    """--retry-failed, 13 times under one cap: the cap holds over all of them, and no good answer is asked again."""
    gateway = gateways(always_wrong)
    bench.rows(rows(80))
    bench.job(
        id="id", schema=PERSON, retries={"content": 0}, params={"max_output_tokens": 400},
        limits={"concurrency": 8}, max_cost_usd=0.1,
    )  # fmt: skip
    assert direct(bench, gateway.url).code == 3
    assert_books(bench, gateway, "0.1", exact=True)
    gateway.script = a_third_wrong
    for _ in range(13):
        assert direct(bench, gateway.url, "--retry-failed").code == 4
        assert gateway.paid_again() == 0
        assert_books(bench, gateway, "0.1", exact=True)
    gateway.script = person
    assert direct(bench, gateway.url, "--retry-failed", "--max-cost", "5").code == 0
    assert_books(bench, gateway, exact=True)
    assert gateway.paid_again() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_retry_that_was_stopped_pays_no_good_answer_again(bench, gateways, number):
    """--retry-failed stopped in the middle, then again: only calls in flight at a kill are paid again, and all is told."""
    gateway, concurrency = gateways(always_wrong), 6
    bench.rows(rows(60))
    bench.job(id="id", schema=PERSON, retries={"content": 0}, limits={"concurrency": concurrency})
    assert direct(bench, gateway.url).code == 3
    gateway.script, gateway.latency_s = a_third_wrong, 0.03
    stop(bench, gateway, 25, number, "--retry-failed")
    killed = number == signal.SIGKILL
    assert_books(bench, gateway, exact=not killed)
    gateway.script, gateway.latency_s = person, 0.0
    ended = direct(bench, gateway.url, "--retry-failed")
    assert ended.code == 0, ended.err
    told = assert_books(bench, gateway, exact=not killed)
    assert told["ledger"]["ok"] == 60
    assert gateway.paid_again() <= (concurrency if killed else 0)
    # What is told to be unknown is no more than the calls that were in flight at their worst.
    assert sum(int(told[part]["calls"]) for part in ("totals", "beside")) <= len(gateway.asks) + concurrency


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_limited_run_that_was_stopped_and_then_all_rows(bench, gateways, number):
    """-n stopped in the middle, then without -n: what rows without an outcome had cost is told, once."""
    gateway, concurrency = gateways(always_wrong), 6
    bench.rows(rows(40))
    bench.job(id="id", schema=PERSON, retries={"content": 9}, limits={"concurrency": concurrency})
    gateway.latency_s = 0.03
    stop(bench, gateway, 30, number, "-n", "30")
    killed = number == signal.SIGKILL
    before = assert_books(bench, gateway, exact=not killed)
    assert before["ledger"]["ok"] == 0
    gateway.script, gateway.latency_s = person, 0.0
    assert direct(bench, gateway.url).code == 0
    told = assert_books(bench, gateway, exact=not killed)
    assert told["ledger"]["ok"] == 40
    assert gateway.paid_again() == 0


def untold(ask: Ask) -> Reply:
    return Reply(text=answer_to(ask.prompt), output=950, thinking=0, usage=None)


def untold_and_wrong(ask: Ask) -> Reply:
    return replace(untold(ask), text=WRONG.text, good=False)


def test_untold_bills_of_settled_rows_keep_their_bound_when_a_row_is_edited(bench, gateways):
    """Answers that told no usage count with their worst case against the cap, also once a row beside them is edited."""
    gateway = gateways(untold)
    bench.rows(rows(6))
    bench.job(id="id", params={"max_output_tokens": 1000}, limits={"concurrency": 2}, max_cost_usd=0.05)
    assert direct(bench, gateway.url).code == 0
    assert assert_books(bench, gateway, "0.05")["totals"]["rows_cost_unknown"] == 6
    bench.rows([*rows(5), *rows(10, first=100)])
    ended = direct(bench, gateway.url)
    assert_books(bench, gateway, "0.05")
    assert ended.code == 4
    assert direct(bench, gateway.url, "--max-cost", "5").code == 0
    assert_books(bench, gateway)
    assert gateway.paid_again() == 0


def test_untold_bills_of_rows_asked_again_keep_their_bound_when_a_row_is_appended(bench, gateways):
    """What attempts without a told usage may have cost counts against the cap, also once the file has grown."""
    gateway = gateways(untold_and_wrong)
    bench.rows(rows(6))
    bench.job(
        id="id", schema=PERSON, retries={"content": 30}, params={"max_output_tokens": 1000},
        limits={"concurrency": 2}, max_cost_usd=0.05,
    )  # fmt: skip
    assert direct(bench, gateway.url).code == 4
    assert_books(bench, gateway, "0.05")
    bench.rows(rows(7))
    assert direct(bench, gateway.url).code == 4
    assert_books(bench, gateway, "0.05")
    gateway.script = person
    assert direct(bench, gateway.url, "--max-cost", "5").code == 0
    assert_books(bench, gateway)
    assert gateway.paid_again() == 0


# A row's own body.

CHAT_LIMITS, GENERATE_LIMITS = ("max_tokens", "max_completion_tokens"), ("maxOutputTokens", "max_output_tokens")
FULL_CONTEXT, LONGEST = 900_000, 65_536


def dearest(ask: Ask) -> Reply:
    """The dearest answer that can be made of a body: a limit that is none does not limit, of two the larger does, and
    what is searched or referred to fills the context.
    """
    config = ask.body if ask.is_chat else ask.body.get("generationConfig", {})
    limits = [config[name] for name in (*CHAT_LIMITS, *GENERATE_LIMITS) if name in config]
    counted = all(type(limit) is int and limit > 0 for limit in limits)
    limit = max(limits) if limits and counted else LONGEST
    counts = ("n", "best_of", "candidateCount", "candidate_count")
    choices = max([config[name] for name in counts if name in config], default=1)
    thinking = config.get("thinkingConfig", {}).get("thinkingBudget", 0)
    content = json.dumps({key: value for key, value in ask.body.items() if key not in ("max_tokens", "n")})
    outside = ("googleSearch", "google_search", "codeExecution", "https://")
    tokens = FULL_CONTEXT if any(word in content for word in outside) else len(content) // 4
    return Reply(text=answer_to(ask.prompt), input=tokens, output=limit * choices, thinking=thinking)


def chat(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "dear"}], **fields}


def chat_with(part: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "dear"}, part]}]}


def generate(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": "dear"}, *parts]}], **fields}


def configured(**fields: Any) -> dict[str, Any]:
    return generate(generationConfig=fields)


SEARCHED = {"type": "function", "function": {"name": "googleSearch"}}
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.org/large.pdf"}}
FILE = {"mimeType": "application/pdf", "fileUri": "https://example.org/large.pdf"}
# What is no limit is refused; what is dear and can be reckoned is sent only where it fits.
NO_CHAT_LIMITS = [
    *(chat(max_tokens=limit) for limit in (-1, True, -1_000_000, 0, 1.5, "500")),
    chat(max_completion_tokens=-1),
    chat(max_tokens=100, max_completion_tokens=True),
]
NO_GENERATE_LIMITS = [
    *(configured(maxOutputTokens=limit) for limit in (-1, True, -1_000_000, 0, 1.5, "x")),
    configured(max_output_tokens=-1),
]
DEAR = {
    "n": chat(n=8, max_tokens=4000),
    "best_of": chat(best_of=8, max_tokens=4000),
    "candidateCount": configured(candidateCount=8, maxOutputTokens=8000),
    "candidate_count": configured(candidate_count=8, maxOutputTokens=8000),
    "thinkingBudget": configured(maxOutputTokens=500, thinkingConfig={"thinkingBudget": 60_000}),
    "two limits": chat(max_tokens=100, max_completion_tokens=60_000),
    "two limits in two spellings": configured(maxOutputTokens=100, max_output_tokens=60_000),
    "googleSearch": chat(tools=[SEARCHED]),
    "googleSearch of generateContent": generate(tools=[{"googleSearch": {}}]),
    "google_search": generate(tools=[{"google_search": {}}]),
    "an unknown tool": generate(tools=[{"codeExecution": {}}]),
    "image URL": chat_with(PICTURE),
    "fileUri": generate({"fileData": FILE}),
    "file_uri": generate({"file_data": {"mime_type": FILE["mimeType"], "file_uri": FILE["fileUri"]}}),
}
BODY_CAP = "0.05"


def own_bodies(bench: Bench, gateway: Gateway, *bodies: dict[str, Any]) -> Ended:
    """A plain row, then one with each body, in a batch file under a cap."""
    is_chat = "messages" in bodies[0]
    plain = chat(max_tokens=200) if is_chat else configured(maxOutputTokens=200)
    name, key = ("custom_id", "body") if is_chat else ("key", "request")
    plain = json.loads(json.dumps(plain).replace("dear", "plain"))
    bench.rows([{name: f"r{n}", key: body} for n, body in enumerate((plain, *bodies))])
    bench.job(
        model=PRO if is_chat else FLASH, prompt=None, id=name, limits={"concurrency": 1},
        params={"max_output_tokens": 500}, max_cost_usd=float(BODY_CAP),
    )  # fmt: skip
    return direct(bench, gateway.url)


@pytest.mark.parametrize("body", DEAR.values(), ids=DEAR.keys())
def test_the_cap_holds_for_what_a_rows_own_body_asks(bench, gateways, body):
    """A field of a row's own body that makes a call dearer is in its worst case, or refused: the cap is never passed."""
    gateway = gateways(dearest)
    ended = own_bodies(bench, gateway, body)
    told = assert_books(bench, gateway, BODY_CAP, exact=True)
    assert ended.code in (0, 3, 4), ended.err
    assert bench.results().filter(row_id="r0")["status"].to_list() == ["ok"]
    assert told["ledger"]["ok"] + told["ledger"]["failed"] + told["ledger"]["not_attempted"] == 2


@pytest.mark.parametrize("protocol", ["chat", "generate"])
def test_a_limit_that_is_no_positive_whole_number_is_refused(bench, gateways, protocol):
    """A row whose own limit limits nothing fails before it is sent, and says so; its neighbours are answered."""
    gateway = gateways(dearest)
    bodies = NO_CHAT_LIMITS if protocol == "chat" else NO_GENERATE_LIMITS
    ended = own_bodies(bench, gateway, *bodies)
    assert_books(bench, gateway, BODY_CAP, exact=True)
    assert ended.code == 3, ended.err
    results = bench.results()
    assert results["status"].to_list() == ["ok", *["failed"] * len(bodies)]
    for message, body in zip(results["error_message"][1:], bodies, strict=True):
        limits = [name for name in (*CHAT_LIMITS, *GENERATE_LIMITS) if f'"{name}"' in json.dumps(body)]
        assert any(spelled(limit) in spelled(message) for limit in limits), message
    assert gateway.asked_by_prompt["dear"] == 0


def spelled(name: str) -> str:
    """A field's name whatever its spelling."""
    return name.lower().replace("_", "")


def test_a_bill_beyond_its_worst_case_stops_a_capped_run(bench, gateways):
    """A gateway that bills more than the worst case of a call makes every other reckoning void: the run stops and says so."""

    def overcharging(ask: Ask) -> Reply:
        return Reply(text=answer_to(ask.prompt), output=20_000 if "person 0005" in ask.prompt else 20)

    gateway = gateways(overcharging)
    bench.rows(rows(40))
    bench.job(id="id", params={"max_output_tokens": 500}, limits={"concurrency": 1}, max_cost_usd=2)
    ended = direct(bench, gateway.url)
    assert ended.code == 4, ended.err
    assert len(gateway.asks) <= 7
    assert "worst" in ended.manifest["termination"]["message"]
    assert_books(bench, gateway, "2")


# Counts that cannot be.


def chat_usage(prompt: Any, completion: Any, total: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}


def generate_usage(prompt: Any, candidates: Any, total: Any) -> dict[str, Any]:
    return {"promptTokenCount": prompt, "candidatesTokenCount": candidates, "totalTokenCount": total}


HUGE = {
    "total": (50, 150, 1_700_000_000_000_000),
    "input": (10**18, 150, 10**18 + 150),
    "output": (50, 10**18, 10**18 + 50),
    "all": (10**18, 10**18, 2 * 10**18),
    "beyond 64 bits": (10**30, 150, 10**30 + 150),
}
DISAGREE = {
    "a negative input": (-50, 150, 100),
    "a negative output": (50, -150, -100),
    "a negative total": (50, 150, -200),
    "a total below its parts": (50, 150, 120),
    "a total of nothing": (50, 150, 0),
    "an output beyond the context": (50, 2_000_000, 2_000_050),
}


@pytest.mark.parametrize("model", [PRO, FLASH])
@pytest.mark.parametrize("counts", [HUGE, DISAGREE], ids=["huge", "disagree"])
def test_counts_that_cannot_be_are_unknown_within_their_bound(bench, gateways, model, counts):
    """Counts that no answer can have are an unknown cost with its bound; the answers stand, and nothing is asked again."""
    usage = chat_usage if model == PRO else generate_usage
    odd = {f"Say {name}": usage(*told) for name, told in counts.items()}

    def script(ask: Ask) -> Reply:
        reply = names_its_request(ask)
        return Reply(text=reply.text, usage=odd[ask.prompt]) if ask.prompt in odd else reply

    gateway = gateways(script)
    bench.rows([*rows(10), *({"id": name, "text": name} for name in counts)])
    bench.job(model=model, id="id", params={"max_output_tokens": 1000})
    for _ in range(2):
        assert direct(bench, gateway.url).code == 0
        told = assert_books(bench, gateway)
        assert len(gateway.asks) == 10 + len(counts)
    results = bench.results()
    assert set(results.filter(cost_unknown=True)["row_id"]) == set(counts)
    assert results["response_text"].to_list() == [
        answer_to(f"Say {row}") for row in [*(f"person {n:04d}" for n in range(10)), *counts]
    ]
    for column in ("input_tokens", "output_tokens", "thought_tokens"):
        assert results[column].is_between(0, 1_000).all(), column
    assert money(told["totals"]["unknown_cost_bound_usd"]) < len(counts)


# The rest of the table.


def test_an_attachment_that_is_a_folder_costs_its_row_alone(bench, gateways):
    """A folder where a picture should be fails its own row, in `check` as in the run; the others are asked once."""
    gateway = gateways()
    media = bench.folder / "media"
    (media / "folder.png").mkdir(parents=True)
    (media / "good.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 64)
    bench.rows([{**row, "photo": "folder.png" if n == 7 else "good.png"} for n, row in enumerate(rows(20))])
    bench.job(id="id", attachments=["photo"], media_root="media")
    checked = bench.run(gateway.url, "check", "job.yaml")
    assert "Traceback" not in checked.err + checked.out
    assert "folder.png" in checked.err + checked.out
    for _ in range(2):
        ended = direct(bench, gateway.url)
        assert ended.code == 3, ended.err
        assert_books(bench, gateway, exact=True)
        assert len(gateway.asks) == 19
    failed = bench.results().filter(status="failed")
    assert failed["row_id"].to_list() == ["r7"]
    assert "folder.png" in failed["error_message"][0]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("model", [PRO, FLASH])
def test_the_key_in_pieces_is_redacted_once_put_together(tmp_path, gateways, model, stream):
    """A gateway that echoes the key in pieces leaves it in no column, page, log or file."""
    bench = Bench(tmp_path, reports=stream and model == PRO)

    def echo(ask: Ask) -> Reply:
        assert ask.key == KEY
        half = len(KEY) // 2
        told = f"your key is {ask.key} "
        pieces = {"0000": ("your key is ", KEY[:half], KEY[half:], "."), "0001": tuple(f"key {KEY}")}
        found = next((cut for number, cut in pieces.items() if number in ask.prompt), ())
        return Reply(text=told, thoughts=told, pieces=found)

    gateway = gateways(echo)
    bench.rows(rows(4))
    bench.job(model=model, id="id", params={"stream": stream, "include_thoughts": True})
    ended = direct(bench, gateway.url)
    assert ended.code == 0, ended.err
    results = bench.results()
    assert "key" in results["response_text"][1]
    shown = json.dumps(results.to_dicts(), default=str)
    assert KEY not in shown + ended.out + ended.err
    assert results["response_text"].str.contains("[key redacted]", literal=True).all()
    for path in bench.folder.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


# Right behind the answer; while the connection is idle, since the next call is 50 ms away; while every one is wanted.
LATE = {
    "at once": (0.0, {"concurrency": 4}),
    "idle": (0.02, {"concurrency": 1, "rpm": 1_200}),
    "busy": (0.01, {"concurrency": 4}),
}


@pytest.mark.parametrize(("late_s", "limits"), LATE.values(), ids=LATE.keys())
def test_an_answer_that_nobody_asked_for_is_in_no_row(bench, gateways, late_s, limits):
    """A second answer, sent late on a kept connection, is never taken for the answer to another row's request."""

    def script(ask: Ask) -> Reply:
        late = Reply(text=f"late: {answer_to(ask.prompt)}") if number_in(ask.prompt) % 5 == 0 else None
        return Reply(text=answer_to(ask.prompt, ask.seen), late=late, late_s=late_s)

    gateway = gateways(script, latency_s=0.05 if late_s == 0.01 else 0.0)
    bench.rows(rows(30))
    bench.job(id="id", limits=limits)
    assert direct(bench, gateway.url).code == 0
    results = bench.results()
    for row, text in results.select("row_id", "response_text").iter_rows():
        prompt = f"Say person {int(row[1:]):04d}"
        assert text in {answer_to(prompt, seen) for seen in range(gateway.asked_by_prompt[prompt])}
    assert_books(bench, gateway)
