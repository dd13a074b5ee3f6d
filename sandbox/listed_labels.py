"""Listed labels: those that a prompt lists and its schema does not repeat."""

from __future__ import annotations

import re
from typing import Any

_LIST = re.compile(r"^Labels:\n((?:- .*(?:\n|$))+)", re.MULTILINE)


def with_listed_labels(schema: Any, text: str) -> Any:
    """The schema of a label's answer with the labels that the prompt lists, where it names none itself."""
    fields = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(fields, dict) or not isinstance(one := fields.get("label", fields.get("labels")), dict):
        return schema
    inner = one if "label" in fields else one.get("items")
    listed = _LIST.search(text)
    if listed is None or not isinstance(inner, dict) or inner.get("type") != "string" or "enum" in inner:
        return schema
    # A line is `- name: description`, or the name alone.
    known = {**inner, "enum": [line[2:].split(": ")[0] for line in listed[1].splitlines()]}
    name = "label" if "label" in fields else "labels"
    return {**schema, "properties": {**fields, name: known if name == "label" else {**one, "items": known}}}
