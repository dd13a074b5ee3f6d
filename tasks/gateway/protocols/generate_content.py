"""generateContent: encode and decode, no I/O. Source: the gateway's page 'Gemini 3 Flash'."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rowmill.schemas.attempt import Answer
from rowmill.schemas.catalogue import Model
from rowmill.schemas.job_sections import Tool
from rowmill.schemas.json_text import encode_json
from rowmill.schemas.media_tokens import resolution_of
from rowmill.schemas.request import AskOptions, FunctionCall, FunctionResult, Media, Part, Text, Turn
from rowmill.tasks.gateway.protocols.generate_demands import demands as demands
from rowmill.tasks.gateway.protocols.generated_answers import assemble as assemble
from rowmill.tasks.gateway.protocols.generated_answers import decode as decode

ROLES = {"user": "user", "model": "model", "tool": "user"}
OWN_FIELDS = frozenset({"model"})
# The column of a row that holds its own turns, and the one that holds its line of a batch file.
TURNS_COLUMN, BATCH_COLUMN = "contents", "request"


def path(model: Model, *, stream: bool) -> str:
    return f"{model.path}:streamGenerateContent?alt=sse" if stream else f"{model.path}:generateContent"


def wire(body: dict[str, Any], *, stream: bool) -> bytes:
    """Body bytes. Streaming is chosen by the address in this protocol."""
    return encode_json(body)


def body(turns: Iterable[Turn], ask: AskOptions, model: Model) -> dict[str, Any]:
    """Wire body of turns in the neutral form. System turns become the system instruction."""
    made: dict[str, Any] = {"contents": []}
    for turn in turns:
        parts = [_part(part) for part in turn.parts]
        if turn.role == "system":
            made.setdefault("systemInstruction", {"parts": []})["parts"].extend(parts)
        else:
            made["contents"].append({"role": ROLES[turn.role], "parts": parts})
    return _with_ask(made, ask)


def adopt(own: dict[str, Any], ask: AskOptions, model: Model) -> dict[str, Any]:
    """Wire body of a row that carries its own request: its fields stand, the job's fill the gaps."""
    made = _camel({key: value for key, value in own.items() if key not in OWN_FIELDS})
    if isinstance(made.get("generationConfig"), dict):
        made["generationConfig"] = config = _camel(made["generationConfig"])
        if isinstance(config.get("thinkingConfig"), dict):
            config["thinkingConfig"] = _camel(config["thinkingConfig"])
    return _with_ask(made, ask)


def _declaration(tool: Tool) -> dict[str, Any]:
    declared: dict[str, Any] = tool.model_dump(exclude_defaults=True)
    return {**declared, "parameters": google_schema(tool.parameters)} if tool.parameters else declared


def google_schema(schema: Any) -> Any:
    """JSON Schema → the form the page's example has: type names in capitals, null as `nullable`."""
    if isinstance(schema, list):
        return [google_schema(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties" and isinstance(value, dict):
            made[key] = {name: google_schema(part) for name, part in value.items()}
        elif key == "type":
            kinds = [value] if isinstance(value, str) else [kind for kind in value if kind != "null"]
            made["type"] = kinds[0].upper() if kinds else "NULL"
            if not isinstance(value, str) and "null" in value:
                made["nullable"] = True
        elif key in ("enum", "required"):
            made[key] = value
        elif key not in ("$schema", "additionalProperties", "title"):
            made[key] = google_schema(value)
    return made


def excluded(made: dict[str, Any], model: Model) -> str | None:
    """Why the page forbids this body, None where it does not."""
    tools = [_camel(tool) for tool in made.get("tools") or []]
    both = any("googleSearch" in tool for tool in tools) and any("functionDeclarations" in tool for tool in tools)
    if both and not model.search_with_functions:
        return "googleSearch and functionDeclarations cannot be used together"
    return None


def _camel(fields: dict[str, Any]) -> dict[str, Any]:
    """Field names as the page writes them: Google's protocol reads snake case too, and its batch examples use it."""
    return {re.sub(r"_([a-z])", lambda found: found[1].upper(), key): value for key, value in fields.items()}


def _with_ask(made: dict[str, Any], ask: AskOptions) -> dict[str, Any]:
    params = ask.params
    config = dict(made.get("generationConfig") or {})
    thinking: dict[str, Any] = {}
    if params.include_thoughts:
        thinking["includeThoughts"] = True
    if params.thinking is not None:
        thinking["thinkingLevel"] = params.thinking
    if thinking:
        config.setdefault("thinkingConfig", thinking)
    if params.temperature is not None:
        config.setdefault("temperature", params.temperature)
    if params.max_output_tokens is not None:
        config.setdefault("maxOutputTokens", params.max_output_tokens)
    if ask.schema is not None and "responseSchema" not in config:
        config.setdefault("responseMimeType", "application/json")
        config.setdefault("responseJsonSchema", ask.schema)
    if config:
        made["generationConfig"] = config
    if params.search:
        made.setdefault("tools", [{"googleSearch": {}}])
    elif ask.tools:
        declared = [_declaration(tool) for tool in ask.tools]
        made.setdefault("tools", [{"functionDeclarations": declared}])
    for name, value in params.extra.items():
        made.setdefault(name, value)
    return made


def _part(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"text": text}
        case Media(mime, None, content):
            return {"inline_data": {"mime_type": mime, "data": content}}
        case Media(mime, url, _):
            return {"file_data": {"mime_type": mime, "file_uri": url}}
        case FunctionCall(name, arguments, _):
            return {"functionCall": {"name": name, "args": arguments}}
        case FunctionResult(name, content, _):
            response = content if isinstance(content, dict) else {"result": content}
            return {"functionResponse": {"name": name, "response": response}}


def turns(own: dict[str, Any]) -> tuple[Turn, ...]:
    """Neutral turns of `contents` and the system instruction. Raises ValueError for what cannot be carried unharmed."""
    contents = own.get("contents")
    if not isinstance(contents, list) or not contents:
        raise ValueError("`contents` must be a list with at least one content")
    found = [_turn(content) for content in contents]
    system = own.get("systemInstruction") or own.get("system_instruction")
    if system:
        parts = [{"text": system}] if isinstance(system, str) else system.get("parts", [])
        found.insert(0, Turn("system", tuple(_neutral(part) for part in parts)))
    return tuple(found)


def _turn(content: Any) -> Turn:
    if not isinstance(content, dict) or not isinstance(content.get("parts"), list) or not content["parts"]:
        raise ValueError("each content needs a list of parts")
    role = content.get("role", "user")
    if role not in ("user", "model", "function"):
        raise ValueError(f"the role {role!r} is neither user nor model")
    parts = tuple(_neutral(part) for part in content["parts"])
    if any(isinstance(part, FunctionResult) for part in parts):
        return Turn("tool", parts)
    return Turn("model" if role == "model" else "user", parts)


def _neutral(part: Any) -> Part:
    if not isinstance(part, dict):
        raise ValueError("a part must be an object")
    if isinstance(part.get("text"), str) and not part.get("thought"):
        return Text(part["text"])
    inline = part.get("inline_data") or part.get("inlineData")
    if inline:
        return Media(_mime(inline), base64=inline["data"], resolution=_resolution(part))
    file = part.get("file_data") or part.get("fileData")
    if file:
        return Media(_mime(file), url=file.get("file_uri") or file.get("fileUri"), resolution=_resolution(part))
    call = part.get("functionCall") or part.get("function_call")
    if call:
        return FunctionCall(call["name"], call.get("args", {}), call.get("id"))
    result = part.get("functionResponse") or part.get("function_response")
    if result:
        return FunctionResult(result["name"], result.get("response"), result.get("id"))
    raise ValueError(f"a part with {', '.join(sorted(part)) or 'nothing'} has no counterpart in the other protocol")


def _mime(told: dict[str, Any]) -> str | None:
    return told.get("mime_type") or told.get("mimeType")


def _resolution(told: dict[str, Any]) -> str | None:
    return resolution_of(told.get("mediaResolution") or told.get("media_resolution"))


def media_resolution(made: dict[str, Any]) -> str | None:
    """What a body asks for all of its media: low, medium or high."""
    config = made.get("generationConfig") or made.get("generation_config")
    return _resolution(config) if isinstance(config, dict) else None


def add_text(made: dict[str, Any], text: str) -> dict[str, Any]:
    """The body with text added to its last user content."""
    contents = list(made["contents"])
    for at in range(len(contents) - 1, -1, -1):
        if contents[at].get("role", "user") == "user":
            contents[at] = {**contents[at], "parts": [*contents[at]["parts"], {"text": text}]}
            return {**made, "contents": contents}
    return {**made, "contents": [*contents, {"role": "user", "parts": [{"text": text}]}]}


def add_system(made: dict[str, Any], text: str) -> dict[str, Any]:
    """The body with a system instruction, unless it has one of its own."""
    if "systemInstruction" in made:
        return made
    return {**made, "systemInstruction": {"parts": [{"text": text}]}}


def follow_up(made: dict[str, Any], answer: Answer, complaint: str) -> dict[str, Any]:
    """The body asked again after an answer that was not accepted."""
    said = [
        {"role": "model", "parts": [{"text": answer.text}]},
        {"role": "user", "parts": [{"text": complaint}]},
    ]
    return {**made, "contents": [*made["contents"], *said]}


def offers_functions(made: dict[str, Any]) -> bool:
    """Whether the body offers the model functions to call; a search is none."""
    tools = made.get("tools")
    offered = [_camel(tool) for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    return any(tool.get("functionDeclarations") for tool in offered)


def output_limit(made: dict[str, Any]) -> int | None:
    limit = (made.get("generationConfig") or {}).get("maxOutputTokens")
    return limit if isinstance(limit, int) else None


def with_output_limit(made: dict[str, Any], tokens: int) -> dict[str, Any]:
    return {**made, "generationConfig": {**(made.get("generationConfig") or {}), "maxOutputTokens": tokens}}
