"""Value text: an object or a list as a prompt shows it, which is as JSON writes it and never as Python does."""

from __future__ import annotations

import json
from typing import Any

from rowmill.tasks.plan.template_budget import VIEWS, Budget, weight

# Of a character JSON makes six where it is a control, and an object of one key has a handful beside it.
GROWTH = 8


def as_text(value: Any, budget: Budget) -> Any:
    """The JSON text of an object or a list, paid for before it is made; any other value as it is.

    Keys keep their order and text its characters. What JSON does not have is the text that it would be by itself: a
    date `2026-01-05`, a decimal with all its digits. Raises TemplateError for binary values in it.
    """
    if isinstance(value, VIEWS):
        value = list(value)
    if not isinstance(value, (dict, list, tuple)):
        return value
    budget.make(GROWTH * weight(value, budget, text=True))
    return json.dumps(value, ensure_ascii=False, default=str)
