"""The sandbox is a gateway to the official `openai` and `google-genai` packages too."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import openai
import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from rowmill.sandbox.faults import ERRORS
from rowmill.sandbox.process import Running, spawn
from rowmill.sandbox.settings import Settings

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
QUESTION = "What is the weather in Beijing on 2026-03-04?"


class City(BaseModel):
    name: str
    visits: int


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Running]:
    with spawn(Settings()) as running:
        yield running


@pytest.fixture(scope="module")
def chat(sandbox: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{sandbox.base_url}/v1", api_key="sk-tests", max_retries=0)


def gemini_options(sandbox: Running) -> types.HttpOptions:
    # The gateway's page has v1beta in its address; newer releases of the package default to v1.
    return types.HttpOptions(base_url=f"{sandbox.base_url}/v1/gemini", api_version="v1beta")


@pytest.fixture(scope="module")
def gemini(sandbox: Running) -> genai.Client:
    options = gemini_options(sandbox)
    return genai.Client(api_key="sk-tests", http_options=options)


def ask(chat: openai.OpenAI, content: object = QUESTION, **more: object):
    return chat.chat.completions.create(
        model="gemini-3-pro", messages=[{"role": "user", "content": content}], stream=False, **more
    )


def test_openai_plain_answer_with_usage(chat):
    """A plain completion has text, a finish reason and usage that adds up, reasoning inside the completion."""
    told = ask(chat)
    assert told.choices[0].message.content
    assert told.choices[0].finish_reason == "stop"
    assert told.usage.prompt_tokens + told.usage.completion_tokens == told.usage.total_tokens
    assert 0 < told.usage.completion_tokens_details.reasoning_tokens < told.usage.completion_tokens


def test_openai_stream_is_the_plain_answer_in_pieces(chat):
    """Streamed chunks join to the answer that comes without streaming; usage stands in the last."""
    whole = ask(chat)
    chunks = list(
        chat.chat.completions.create(
            model="gemini-3-pro", messages=[{"role": "user", "content": QUESTION}], stream=True
        )
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage


def test_openai_streams_by_default(sandbox):
    """Without `stream` the gateway streams: its documented default is true."""
    import httpx

    response = httpx.post(
        f"{sandbox.base_url}/v1/chat/completions",
        json={"model": "gemini-3-pro", "messages": [{"role": "user", "content": "x"}]},
        headers={"Authorization": "Bearer sk-tests"},
        trust_env=False,
    )
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("data: [DONE]\n\n")


def test_openai_parses_a_pydantic_model(chat):
    """`.parse` with a model gives that model."""
    told = chat.chat.completions.parse(
        model="gemini-3-pro",
        messages=[{"role": "user", "content": "Beijing was visited 3 times"}],
        response_format=City,
        extra_body={"stream": False},
    )
    assert isinstance(told.choices[0].message.parsed, City)
    assert told.choices[0].message.parsed.visits == 3


def test_openai_thoughts_follow_include_thoughts_and_effort(chat):
    """Thoughts come by default and not when they are declined; low effort thinks less than high."""
    low = ask(chat, reasoning_effort="low", extra_body={"include_thoughts": False})
    high = ask(chat, reasoning_effort="high")
    assert getattr(low.choices[0].message, "reasoning_content", None) is None
    assert high.choices[0].message.reasoning_content
    reasoning = [told.usage.completion_tokens_details.reasoning_tokens for told in (low, high)]
    assert reasoning[0] < reasoning[1]


TOOL = {
    "type": "object",
    "properties": {"location": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
    "required": ["location", "days"],
}


def test_openai_function_calling(chat):
    """A declared function is called with arguments of its schema, plain and streamed, and its result is answered."""
    tools = [{"type": "function", "function": {"name": "forecast", "parameters": TOOL}}]
    told = ask(chat, tools=tools).choices[0]
    assert told.finish_reason == "tool_calls"
    call = told.message.tool_calls[0]
    assert call.function.name == "forecast"
    assert 1 <= json.loads(call.function.arguments)["days"] <= 7
    messages = [
        {"role": "user", "content": QUESTION},
        told.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    final = chat.chat.completions.create(model="gemini-3-pro", messages=messages, tools=tools, stream=False)
    assert final.choices[0].finish_reason == "stop"


def test_openai_image_and_search(chat):
    """An image counts as input, and a search brings its grounding; search with functions is refused."""
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    with_image = ask(chat, [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": url}}])
    assert with_image.usage.prompt_tokens > ask(chat).usage.prompt_tokens + 200
    search = {"type": "function", "function": {"name": "googleSearch"}}
    assert ask(chat, tools=[search]).choices[0].message.grounding_metadata["groundingChunks"]
    other = {"type": "function", "function": {"name": "forecast", "parameters": TOOL}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": TOOL}}
    for wrong in ({"tools": [search, other]}, {"tools": [other], "response_format": form}):
        with pytest.raises(openai.BadRequestError):
            ask(chat, **wrong)


OPENAI_ERRORS = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    402: openai.APIStatusError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    503: openai.InternalServerError,
}


@pytest.mark.parametrize("form", ERRORS.values(), ids=lambda form: form.code)
def test_openai_maps_each_documented_error(chat, form):
    """Each documented error is the package's own exception, with the documented status, code and type."""
    with pytest.raises(OPENAI_ERRORS[form.status]) as caught:
        ask(chat, f"[[fault:{form.code}]] {QUESTION}")
    assert caught.value.status_code == form.status
    assert (caught.value.code, caught.value.type) == (form.code, form.type)


def test_a_key_that_does_not_begin_with_sk_is_refused(sandbox):
    """Both packages meet 401 with a wrong key."""
    with pytest.raises(openai.AuthenticationError):
        ask(openai.OpenAI(base_url=f"{sandbox.base_url}/v1", api_key="wrong", max_retries=0))
    options = gemini_options(sandbox)
    with pytest.raises(errors.ClientError) as caught:
        generate(genai.Client(api_key="wrong", http_options=options))
    assert caught.value.code == 401


def generate(gemini: genai.Client, contents: object = QUESTION, **config: object):
    told = types.GenerateContentConfig(**config) if config else None
    return gemini.models.generate_content(model="gemini-3-flash", contents=contents, config=told)


def test_gemini_plain_answer_with_usage(gemini):
    """A plain answer has text, a finish reason and usage whose parts are the total, thoughts beside."""
    told = generate(gemini)
    usage = told.usage_metadata
    assert told.text
    assert told.candidates[0].finish_reason is types.FinishReason.STOP
    parts = (usage.prompt_token_count, usage.candidates_token_count, usage.thoughts_token_count)
    assert sum(parts) == usage.total_token_count


def test_gemini_stream_is_the_plain_answer_in_pieces(gemini):
    """Streamed chunks join to the answer that comes whole; usage stands in the last."""
    whole = generate(gemini)
    chunks = list(gemini.models.generate_content_stream(model="gemini-3-flash", contents=QUESTION))
    assert "".join(chunk.text or "" for chunk in chunks) == whole.text
    assert chunks[-1].usage_metadata.total_token_count == whole.usage_metadata.total_token_count


def test_gemini_response_schema(gemini):
    """`response_schema` with a pydantic model gives that model; a JSON Schema gives a value of it."""
    told = generate(gemini, "Beijing was visited 3 times", response_mime_type="application/json", response_schema=City)
    assert isinstance(told.parsed, City)
    told = generate(gemini, response_mime_type="application/json", response_json_schema=TOOL)
    assert set(told.parsed) == {"location", "days"}


def test_gemini_thinking(gemini):
    """Thoughts come as thought parts when they are asked for, and count beside the answer."""
    told = generate(gemini, thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_level="low"))
    parts = told.candidates[0].content.parts
    assert [part.thought for part in parts] == [True, None]
    assert generate(gemini).candidates[0].content.parts[0].thought is None
    assert told.usage_metadata.thoughts_token_count < generate(gemini).usage_metadata.thoughts_token_count


def test_gemini_function_calling(gemini):
    """A declared function is called with arguments of its schema."""
    declared = types.FunctionDeclaration(name="forecast", parameters_json_schema=TOOL)
    told = generate(
        gemini,
        tools=[types.Tool(function_declarations=[declared])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    assert told.function_calls[0].name == "forecast"
    assert set(told.function_calls[0].args) == {"location", "days"}


def test_gemini_image_search_and_system(gemini):
    """An inline image counts as input, a search brings its grounding, a system instruction is read."""
    image = types.Part.from_bytes(data=PNG, mime_type="image/png")
    bare = generate(gemini).usage_metadata.prompt_token_count
    assert generate(gemini, [QUESTION, image]).usage_metadata.prompt_token_count > bare + 200
    search = types.Tool(google_search=types.GoogleSearch())
    assert generate(gemini, tools=[search]).candidates[0].grounding_metadata.grounding_chunks
    assert generate(gemini, system_instruction="Be brief.").usage_metadata.prompt_token_count > bare
    declared = types.FunctionDeclaration(name="forecast", parameters_json_schema=TOOL)
    with pytest.raises(errors.ClientError):
        generate(gemini, tools=[search, types.Tool(function_declarations=[declared])])


@pytest.mark.parametrize("form", ERRORS.values(), ids=lambda form: form.code)
def test_gemini_maps_each_documented_error(gemini, form):
    """Each documented error is the package's own exception, with the documented status and message."""
    kind = errors.ClientError if form.status < 500 else errors.ServerError
    with pytest.raises(kind) as caught:
        generate(gemini, f"[[fault:{form.code}]] {QUESTION}")
    assert caught.value.code in (form.status, form.code)
    assert form.message in str(caught.value)


def test_books_hold_what_both_packages_were_told(sandbox, chat, gemini):
    """The books equal the sum of the usages that the packages reported, on both protocols, streamed or not."""
    sandbox.reset()
    one, two = ask(chat).usage, generate(gemini).usage_metadata
    *_, last = gemini.models.generate_content_stream(model="gemini-3-flash", contents=QUESTION)
    books = sandbox.books()
    assert books["billed_calls"] == 3
    prompt = one.prompt_tokens + two.prompt_token_count + last.usage_metadata.prompt_token_count
    assert books["input_tokens"] == prompt
    thoughts = one.completion_tokens_details.reasoning_tokens + 2 * two.thoughts_token_count
    assert books["thought_tokens"] == thoughts
