"""The worst case of a call is read from the body that is sent, whoever put a field into it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.sandbox import chat_completions, generate_content
from rowmill.sandbox.prompt import BadRequest
from rowmill.sandbox.reply import compose
from rowmill.sandbox.settings import Settings
from rowmill.schemas.catalogue import Model, builtin_catalogue
from rowmill.schemas.errors import JobError
from rowmill.schemas.job import Job
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row
from rowmill.schemas.usage import Usage
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS
from rowmill.tasks.plan.input_checks import impossible
from rowmill.tasks.plan.planner import Planner
from rowmill.tasks.plan.worst_case import refusal, worst_case

MODELS = builtin_catalogue()
PRO, FLASH = MODELS["gemini-3-pro"], MODELS["gemini-3-flash"]
IMAGE = "data:image/png;base64,iVBORw0KGgo="
# Google counts thoughts within maxOutputTokens.
SETTINGS = Settings(thoughts_count_as_output=True)


def worst(model: Model, body: dict[str, Any]):
    return worst_case(model, body, len(PROTOCOLS[model.protocol].wire(body, stream=False)))


def plan(model: Model, body: dict[str, Any], **keys: Any) -> Request | Outcome:
    column = "body" if model is PRO else "request"
    job = Job(model=model.name, input="i", output="o", **keys)
    return Planner(job, model, sandbox=True).plan(Row(0, "0", {column: body}, "f", 1))


def chat(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Read this."}], **fields}


def google(**fields: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": "Read this."}]}], **fields}


odd = st.sampled_from([0, -1, -1_000_000, True, "5", 5.0, 10**9, None, 1, 2, 7, 64, 4_000, 65_536])
thinking = st.sampled_from([-1, 0, 128, 10**9, "x", None])
chat_parts = st.lists(
    st.sampled_from(
        [
            {"type": "text", "text": "A long text. " * 40},
            {"type": "image_url", "image_url": {"url": IMAGE}},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        ]
    ),
    min_size=1,
    max_size=4,
)
chat_bodies = st.builds(
    lambda content, fields: {"model": "gemini-3-pro", "messages": [{"role": "user", "content": content}], **fields},
    st.text(min_size=1, max_size=200) | chat_parts,
    st.fixed_dictionaries(
        {},
        optional={
            "n": odd,
            "max_tokens": odd,
            "max_completion_tokens": odd,
            "reasoning_effort": st.sampled_from(["low", "high"]),
            "reasoning": st.builds(lambda budget: {"max_tokens": budget}, thinking),
            "tools": st.sampled_from(
                [
                    [{"type": "function", "function": {"name": "googleSearch"}}],
                    [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}],
                    [{"type": "code_interpreter"}],
                ]
            ),
            "best_of": st.just(9),
            "temperature": st.just(1),
        },
    ),
)
google_bodies = st.builds(
    lambda parts, config, fields: {
        "contents": [{"role": "user", "parts": parts}],
        "generationConfig": config,
        **fields,
    },
    st.lists(
        st.sampled_from(
            [
                {"text": "A long text. " * 40},
                {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
                {"file_data": {"mime_type": "video/mp4", "file_uri": "https://example.org/v.mp4"}},
            ]
        ),
        min_size=1,
        max_size=4,
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "candidateCount": odd,
            "maxOutputTokens": odd,
            "max_output_tokens": odd,
            "thinkingConfig": st.builds(lambda budget: {"thinkingBudget": budget}, thinking),
            "speechConfig": st.just({"voice": "a"}),
        },
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "tools": st.sampled_from([[{"googleSearch": {}}], [{"google_search": {}}], [{"codeExecution": {}}]]),
            "cachedContent": st.just("cachedContents/1"),
            "somethingNew": st.just(1),
        },
    ),
)


@given(chat_bodies | google_bodies)
def test_no_bill_passes_its_worst_case_or_the_row_is_refused(body):
    """Whatever fields a row's own body has, under a cap it is refused before a call or billed within its worst case."""
    model = PRO if "messages" in body else FLASH
    planned = plan(model, body, max_cost_usd=1)
    if isinstance(planned, Outcome):
        assert planned.status is Status.FAILED
        assert planned.error_kind == "invalid_request"
        return
    bound = worst(model, planned.body)
    sent = msgspec.json.decode(PROTOCOLS[model.protocol].wire(planned.body, stream=False))
    try:
        prompt = chat_completions.read(sent) if model is PRO else generate_content.read(sent, model.name, stream=False)
    except BadRequest:
        return
    reply = compose(prompt, SETTINGS)
    assert model.price is not None
    assert model.price.of(Usage(reply.input, reply.output, reply.reasoning)).usd <= bound.usd
    assert reply.input <= bound.input_tokens
    assert reply.output + reply.reasoning <= bound.output_tokens
    assert bound.tokens == bound.input_tokens + bound.output_tokens


@pytest.mark.parametrize(
    ("model", "body", "field"),
    [
        (PRO, chat(max_tokens=-1), "max_tokens"),
        (PRO, chat(max_tokens=True), "max_tokens"),
        (PRO, chat(max_tokens="5"), "max_tokens"),
        (PRO, chat(max_tokens=-1_000_000), "max_tokens"),
        (PRO, chat(max_tokens=0), "max_tokens"),
        (PRO, chat(max_completion_tokens=10**9), "max_completion_tokens"),
        (PRO, chat(max_tokens=5, max_completion_tokens=False), "max_completion_tokens"),
        (PRO, chat(n=0), "n"),
        (PRO, chat(n="3"), "n"),
        (FLASH, google(generationConfig={"maxOutputTokens": -5}), "generationConfig.maxOutputTokens"),
        (FLASH, google(generation_config={"max_output_tokens": 1.5}), "maxOutputTokens"),
        (FLASH, google(generationConfig={"candidateCount": -1}), "generationConfig.candidateCount"),
    ],
)
def test_a_limit_that_is_no_positive_whole_number_is_refused(model, body, field):
    """Such a row fails alone, naming the field, with a cap or without one."""
    for keys in ({}, {"max_cost_usd": 5}):
        planned = plan(model, body, **keys)
        assert isinstance(planned, Outcome)
        assert planned.error_kind == "invalid_request"
        assert field in (planned.error_message or "")


@pytest.mark.parametrize(
    ("model", "body", "field"),
    [
        (PRO, chat(n=2), "n asks"),
        (PRO, chat(best_of=5), "best_of"),
        (PRO, chat(modalities=["text", "audio"]), "modalities"),
        (PRO, chat(service_tier="priority"), "service_tier"),
        (PRO, chat(web_search_options={}), "web_search_options"),
        (PRO, chat(tools=[{"type": "code_interpreter"}]), "tools.0"),
        (PRO, {"messages": [{"role": "user", "content": "x", "audio": {"id": "a"}}]}, "messages.0.audio"),
        (FLASH, google(generationConfig={"candidateCount": 8}), "candidateCount"),
        (FLASH, google(generationConfig={"speechConfig": {}}), "generationConfig.speechConfig"),
        (FLASH, google(tools=[{"codeExecution": {}}]), "tools.0.codeExecution"),
        (FLASH, google(newField=1), "newField"),
    ],
)  # fmt: skip
def test_what_has_no_known_bound_is_refused_under_a_cap_alone(model, body, field):
    """Under a cap, of the output or of the run, such a row fails naming the field; without one it is sent as it stands."""
    for keys in ({"max_cost_usd": 5}, {"max_run_cost_usd": 5}):
        planned = plan(model, body, **keys)
        assert isinstance(planned, Outcome)
        assert planned.error_kind == "invalid_request"
        assert field in (planned.error_message or "")
    assert isinstance(plan(model, body), Request)


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (PRO, chat(tools=[{"type": "function", "function": {"name": "googleSearch"}}])),
        (PRO, chat(tools=[{"google_search": {}}])),
        (PRO, {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}]}),
        (PRO, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "https://example.org/a"}]}]}),
        (FLASH, google(tools=[{"googleSearch": {}}])),
        (FLASH, google(tools=[{"google_search": {}}])),
        (FLASH, google(cachedContent="cachedContents/1")),
        (FLASH, {"contents": [{"parts": [{"fileData": {"fileUri": "gs://b/v.mp4"}}]}]}),
    ],
)  # fmt: skip
def test_what_brings_text_of_unknown_size_may_fill_the_context_window(model, body):
    """A search, an address and a cached content are reckoned as a whole context window, wherever the body has them."""
    assert worst(model, body).input_tokens == model.context_window


def test_limits_answers_and_thinking_are_counted():
    """Of two limits the larger counts, each answer costs its own, a thinking budget comes on top."""
    plain = worst(PRO, chat(max_tokens=100))
    assert plain.output_tokens == 100
    assert worst(PRO, chat()).output_tokens == PRO.max_output_tokens
    assert worst(PRO, chat(max_tokens=100, max_completion_tokens=700)).output_tokens == 700
    assert worst(PRO, chat(max_tokens=100, n=3)).output_tokens == 300
    assert worst(PRO, chat(max_tokens=100, n=3)).usd > 3 * plain.usd
    assert worst(PRO, chat(max_tokens=100, reasoning={"max_tokens": 50})).output_tokens == 150
    dynamic = google(generationConfig={"maxOutputTokens": 100, "thinkingConfig": {"thinkingBudget": -1}})
    assert worst(FLASH, dynamic).output_tokens == 100 + FLASH.max_output_tokens
    in_body = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": IMAGE}}] * 3}]}
    assert worst(PRO, in_body).input_tokens > 3 * 4_096


def test_a_field_in_params_extra_is_refused_once_for_the_job():
    """What every body would carry is a mistake of the job, told by `check` before any row."""
    for extra, keys in (
        ({"n": 4}, {"max_cost_usd": 1}),
        ({"brand_new": 1}, {"max_run_cost_usd": 1}),
        ({"max_completion_tokens": -1}, {}),
    ):
        job = Job(model=PRO.name, input="i", output="o", prompt="x", params={"extra": extra}, **keys)
        [error] = impossible(job, PRO)
        assert isinstance(error, JobError)
        assert next(iter(extra)) in str(error)
    job = Job(model=PRO.name, input="i", output="o", prompt="x", params={"extra": {"brand_new": 1, "n": 4}})
    assert list(impossible(job, PRO)) == []


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.sampled_from(["messages", "content", "contents", "parts", "tools", "function", "n", "max_tokens", "image_url", "generationConfig", "x"]), inner, max_size=4), max_leaves=20))  # fmt: skip
def test_any_body_has_a_worst_case(value):
    """Reading a body never fails, whatever stands where."""
    body = value if isinstance(value, dict) else {"messages": value, "contents": value}
    for model in (PRO, FLASH):
        refusal(model, body, capped=True)
        assert worst_case(model, body, 100).usd > 0
