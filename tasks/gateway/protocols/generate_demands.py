"""Generate demands: what each field of a generateContent body can cost beside its bytes."""

from __future__ import annotations

from typing import Any

from rowmill.tasks.gateway.protocols.demands import (
    SEARCH_TOOLS,
    Demands,
    Reader,
    Table,
    answers,
    camel,
    each,
    fills_window,
    limit,
    medium,
    only,
    plain,
    plain_fields,
    text_or,
    thinking_budget,
)

# Source: the page 'Gemini 3 Flash', and Google's reference of generateContent.
_GOOGLE_MEDIA: dict[str, Reader] = {"inlineData": medium, "fileData": fills_window}
_GOOGLE_RESULT = Table(
    {
        **plain_fields("id", "name", "response", "willContinue", "scheduling"),
        "parts": each(Table(_GOOGLE_MEDIA, camel).read),
    },
    camel,
)
_GOOGLE_PART = Table(
    {
        **plain_fields("text", "thought", "thoughtSignature", "functionCall", "mediaResolution"),
        **_GOOGLE_MEDIA,
        "functionResponse": _GOOGLE_RESULT.read,
    },
    camel,
)
_GOOGLE_CONTENT = Table({"role": plain, "parts": each(text_or(_GOOGLE_PART.read))}, camel)
_GOOGLE_THINKING = Table({**plain_fields("includeThoughts", "thinkingLevel"), "thinkingBudget": thinking_budget}, camel)
_GOOGLE_CONFIG = Table(
    {
        **plain_fields(
            "temperature", "topP", "topK", "stopSequences", "seed", "presencePenalty", "frequencyPenalty", "logprobs",
            "responseLogprobs", "responseMimeType", "responseSchema", "responseJsonSchema", "mediaResolution",
        ),
        "maxOutputTokens": limit,
        "candidateCount": answers,
        "thinkingConfig": _GOOGLE_THINKING.read,
        "responseModalities": only(["TEXT"], ["text"]),
    },
    camel,
)  # fmt: skip
GENERATE_CONTENT = Table(
    {
        **plain_fields("model", "toolConfig", "safetySettings", "labels"),
        "contents": text_or(each(text_or(_GOOGLE_CONTENT.read))),
        "systemInstruction": text_or(_GOOGLE_CONTENT.read),
        "generationConfig": _GOOGLE_CONFIG.read,
        "tools": each(Table({"functionDeclarations": plain, **SEARCH_TOOLS}, camel).read),
        "cachedContent": fills_window,
    },
    camel,
)


def demands(body: dict[str, Any]) -> Demands:
    """What a body asks for that costs more than its bytes."""
    found = Demands()
    GENERATE_CONTENT.read(found, None, body)
    return found
