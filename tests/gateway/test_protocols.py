"""Both protocols: what is sent, what is read back, and that streaming makes no difference."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.sandbox import chat_completions as sandbox_chat
from rowmill.sandbox import generate_content as sandbox_generate
from rowmill.sandbox.prompt import Prompt
from rowmill.sandbox.reply import Reply
from rowmill.schemas.catalogue import builtin_catalogue
from rowmill.schemas.job_sections import Params, Tool
from rowmill.schemas.request import AskOptions, FunctionCall, FunctionResult, Media, Text, Turn
from rowmill.schemas.usage import Usage
from rowmill.tasks.gateway.protocols import chat_completions, generate_content
from rowmill.tasks.gateway.protocols.body import read
from rowmill.tasks.gateway.protocols.event_stream import ErrorInAnswer, StreamCut, is_complete, is_silence
from rowmill.tasks.gateway.protocols.fields import Unreadable

PRO, FLASH = builtin_catalogue()["gemini-3-pro"], builtin_catalogue()["gemini-3-flash"]
plain = AskOptions(Params())
words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
text_turns = st.lists(
    st.builds(lambda role, text: Turn(role, (Text(text),)), st.sampled_from(["user", "model"]), words),
    min_size=1,
    max_size=5,
)


@given(st.none() | words, text_turns)
def test_turns_survive_both_protocols(system, turns):
    """Turns encoded for either protocol and read back are the turns they were: nothing is mangled."""
    turns = [*([Turn("system", (Text(system),))] if system else []), *turns]
    assert list(chat_completions.turns(chat_completions.body(turns, plain, PRO))) == turns
    assert list(generate_content.turns(generate_content.body(turns, plain, FLASH))) == turns


def test_media_and_functions_survive_both_protocols():
    """Inline media, function calls and their results cross from one protocol to the other and back."""
    turns = (
        Turn("user", (Text("what is it?"), Media("image/png", base64="QUJD"))),
        Turn("model", (FunctionCall("look", {"x": 1}, "look"),)),
        Turn("tool", (FunctionResult("look", {"seen": True}, "look"),)),
    )
    chat = chat_completions.body(turns, plain, PRO)
    assert chat["messages"][0]["content"][1]["image_url"]["url"] == "data:image/png;base64,QUJD"
    generate = generate_content.body(turns, plain, FLASH)
    assert generate["contents"][0]["parts"][1] == {"inline_data": {"mime_type": "image/png", "data": "QUJD"}}
    assert generate_content.turns(generate)[0] == turns[0]
    assert chat_completions.turns(chat)[:2] == turns[:2]
    assert generate["contents"][2]["parts"][0]["functionResponse"] == {"name": "look", "response": {"seen": True}}


def test_only_documented_fields_are_sent_unless_asked():
    """A bare job sends what the pages document, `stream` told explicitly, and nothing else."""
    turns = [Turn("user", (Text("hi"),))]
    sent = json.loads(chat_completions.wire(chat_completions.body(turns, plain, PRO), stream=False))
    assert set(sent) == {"model", "messages", "stream", "include_thoughts"}
    assert sent["stream"] is False
    sent = json.loads(generate_content.wire(generate_content.body(turns, plain, FLASH), stream=False))
    assert set(sent) == {"contents"}
    assert generate_content.path(FLASH, stream=False).endswith("gemini-3-flash:generateContent")
    assert generate_content.path(FLASH, stream=True).endswith(":streamGenerateContent?alt=sse")


def test_params_reach_each_protocol_in_its_own_words():
    """Thinking, temperature, limits, schema, search and functions stand where each page puts them."""
    params = Params(thinking="low", include_thoughts=True, temperature=0, max_output_tokens=9)
    turns = [Turn("user", (Text("hi"),))]
    chat = chat_completions.body(turns, AskOptions(params, schema={"type": "object"}), PRO)
    assert chat["reasoning_effort"] == "low"
    assert chat["max_tokens"] == 9
    assert chat["response_format"]["json_schema"]["strict"] is True
    config = generate_content.body(turns, AskOptions(params), FLASH)["generationConfig"]
    assert config == {
        "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "low"}, "temperature": 0, "maxOutputTokens": 9
    }  # fmt: skip
    search = AskOptions(Params(search=True))
    assert chat_completions.body(turns, search, PRO)["tools"][0]["function"] == {"name": "googleSearch"}
    assert generate_content.body(turns, search, FLASH)["tools"] == [{"googleSearch": {}}]
    tools = AskOptions(Params(), tools=(Tool(name="f", parameters={"type": "object"}),))
    assert chat_completions.body(turns, tools, PRO)["tools"][0]["function"]["name"] == "f"
    assert generate_content.body(turns, tools, FLASH)["tools"][0]["functionDeclarations"][0]["name"] == "f"


replies = st.builds(
    Reply,
    text=words,
    thoughts=st.just("") | words,
    input=st.integers(1, 999),
    output=st.integers(1, 999),
    reasoning=st.integers(0, 999),
    finish=st.sampled_from(["stop", "length"]),
)


def whole_and_streamed(reply: Reply, *, sse: bool, line_end: str):
    prompt = Prompt("m", "t", "t", "t", 1)
    chat = sandbox_chat.answer(reply, prompt, "1", beside=False, with_usage=True)
    chat_stream = "".join(sandbox_chat.stream(reply, prompt, "1", beside=False, with_usage=True))
    yield chat_completions, chat, chat_stream.replace("\n", line_end).encode()
    generate = sandbox_generate.answer(reply, prompt, with_usage=True)
    if sse:
        streamed = "".join(sandbox_generate.stream(reply, prompt, with_usage=True))
    else:
        # Google's own form without `alt=sse`: one JSON array in pieces.
        chunks = sandbox_generate.chunks(reply, prompt, with_usage=True)
        streamed = f"[{f',{line_end}'.join(map(json.dumps, chunks))}]"
    yield generate_content, generate, streamed.encode()


@given(replies, st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_streamed_and_whole_give_the_same_answer(reply, sse, line_end):
    """Server-sent events, CRLF or not, and Gemini's array form read as the same answer as the whole body."""
    for protocol, whole, streamed in whole_and_streamed(reply, sse=sse, line_end=line_end):
        answer = protocol.decode(read(streamed, protocol.assemble))
        assert answer == protocol.decode(json.loads(json.dumps(whole)))
        assert answer.usage == Usage(reply.input, reply.output, reply.reasoning)
        assert answer.cut == (reply.finish == "length")


@given(replies, st.booleans(), st.floats(0, 0.999))
def test_a_stream_that_ends_early_is_never_an_answer(reply, sse, share):
    """Cut before its finish reason, at any byte, a stream is truncated: no half answer is accepted."""
    for protocol, whole, streamed in whole_and_streamed(reply, sse=sse, line_end="\n"):
        cut = streamed[: int(len(streamed) * share)]
        try:
            answer = protocol.decode(read(cut, protocol.assemble))
        except (StreamCut, Unreadable):
            continue
        expected = protocol.decode(json.loads(json.dumps(whole)))
        assert (answer.text, answer.finish_reason) == (expected.text, expected.finish_reason)


def test_an_error_inside_a_stream_is_that_error():
    """An error event after a 200 is told apart from an answer."""
    with pytest.raises(ErrorInAnswer):
        read(b'data: {"error": {"code": "upstream_error", "message": "x"}}\n\n', chat_completions.assemble)


@pytest.mark.parametrize(
    ("protocol", "payload", "blocked", "text"),
    [
        (chat_completions, {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}]}, "content_filter", ""),
        (chat_completions, {"choices": [{"message": {"refusal": "no"}, "finish_reason": "stop"}]}, "no", ""),
        (chat_completions, {"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}}]},
         None, "ab"),
        (generate_content, {"promptFeedback": {"blockReason": "SAFETY"}}, "SAFETY", ""),
        (generate_content, {"candidates": [{"finishReason": "RECITATION"}]}, "RECITATION", ""),
        (generate_content, {"candidates": [{"content": {"parts": [{"text": "t", "thought": True}, {"text": "a"}]}}]}, None, "a"),
    ],
)  # fmt: skip
def test_blocked_answers_and_parts_are_read(protocol, payload, blocked, text):
    """A block is told by the provider's own word, thoughts stay out of the answer, missing usage is unknown."""
    answer = protocol.decode(payload)
    assert (answer.blocked, answer.text, answer.usage) == (blocked, text, None)


@pytest.mark.parametrize(
    "payload", [None, [], {}, {"choices": []}, {"choices": [1]}, {"candidates": "x"}, {"candidates": [1]}]
)
def test_what_is_no_answer_is_refused(payload):
    """A 200 of an unknown form is an unreadable body, whichever protocol it should have been."""
    for protocol in (chat_completions, generate_content):
        with pytest.raises(ValueError, match=r"no |object"):
            protocol.decode(payload)


def test_asking_again_adds_turns_and_room_without_touching_the_rest():
    """A follow-up holds the answer and the complaint; a raised limit replaces the old one, under the name it had."""
    for protocol, model in ((chat_completions, PRO), (generate_content, FLASH)):
        body = protocol.body([Turn("user", (Text("hi"),))], AskOptions(Params(max_output_tokens=9)), model)
        answer = protocol.decode(
            {"choices": [{"message": {"content": "bad"}}], "candidates": [{"content": {"parts": [{"text": "bad"}]}}]}
        )
        turns = protocol.turns(protocol.follow_up(body, answer, "mend it"))
        assert [turn.role for turn in turns] == ["user", "model", "user"]
        assert protocol.output_limit(body) == 9
        assert protocol.output_limit(protocol.with_output_limit(body, 18)) == 18
        assert protocol.turns(body) == protocol.turns(protocol.with_output_limit(body, 18))
    own = {"messages": [{"role": "user", "content": "x"}], "max_completion_tokens": 5}
    assert chat_completions.with_output_limit(own, 10)["max_completion_tokens"] == 10


def test_snake_case_of_gemini_batch_lines_is_read_as_the_page_writes_it():
    """generation_config, max_output_tokens and system_instruction keep their meaning, and the job fills only gaps."""
    own = {
        "contents": [{"parts": [{"text": "x"}]}],
        "generation_config": {"max_output_tokens": 7, "thinking_config": {"thinking_level": "low"}},
        "system_instruction": {"parts": [{"text": "s"}]},
    }
    body = generate_content.adopt(own, AskOptions(Params(max_output_tokens=99, thinking="high")), FLASH)
    assert generate_content.output_limit(body) == 7
    assert body["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "low"}
    assert body["systemInstruction"] == {"parts": [{"text": "s"}]}
    assert generate_content.add_system(body, "other") == body


@pytest.mark.parametrize(
    ("end", "complete"),
    [
        (b"data: [DONE]\n\n", True), (b"data:[DONE]", True), (b"", False), (b": waiting\n\n", False),
        (b'data: {"choices": [], "usage": {"prompt_tokens": 1}}\n\n', True),
        (b'data: {"choices": [], "usage": null}\n\n', False), (b'data: {"choices": [], "usage": {"prompt_tokens": 1}}', False),
    ],
)  # fmt: skip
def test_a_stream_is_complete_at_its_end_or_with_its_usage(end, complete):
    """[DONE] ends a stream, and so does the usage after a finish reason; what says so inside a text does not."""
    text = json.dumps({"choices": [{"delta": {"content": "data: [DONE]\n\n"}, "finish_reason": None}]})
    before = f"data: {text}\n\n".encode()
    finished = before + b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
    assert is_complete(finished + end) is complete
    assert is_complete(before) is False


def test_the_last_chunk_of_gemini_completes_its_stream():
    """Finish reason and usage come together in this protocol: nothing need be waited for after them."""
    for piece, last in ((b"", False), (b', "finishReason": "STOP"', True)):
        body = (
            b'data: {"candidates": [{"content": {"parts": [{"text": "a"}]}'
            + piece
            + b'}], "usageMetadata": {"x": 1}}\r\n\r\n'
        )
        assert is_complete(body) is last


def test_a_whole_answer_is_no_stream_that_ended():
    """Whatever stands in the text of a whole answer, and wherever its pieces end, it is not taken for a stream's end."""
    body = json.dumps(
        {"choices": [{"message": {"content": "say\ndata: [DONE]"}, "finish_reason": "stop"}], "usage": {}}
    )
    cut = body.encode()[: body.index("[DONE]") + 6]
    assert not is_complete(cut)
    assert not is_complete(body.encode() + b"\n\n")
    assert is_complete(b"data:[DONE]")


def test_comments_alone_are_silence():
    """A piece of a stream that holds only comments and blank lines brings nothing."""
    assert is_silence(b": waiting\n\n: waiting\r\n\r\n")
    assert not is_silence(b': waiting\n\ndata: {"choices": []}\n\n')
