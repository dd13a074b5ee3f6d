"""Books: what the sandbox billed, to the last digit, and what it saw. Kept apart from the pipeline's own account."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rowmill.schemas.price import ZERO, Cost, Price, decimal_string
from rowmill.schemas.usage import Usage

DETAIL_MOST = 200_000


@dataclass(slots=True)
class Books:
    """Sums over calls since the start or the last reset. Money is in 10⁻¹² units until it is told."""

    journal: Path | None = None
    calls: Counter[str] = field(default_factory=Counter)
    billed_calls: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: Cost = ZERO
    in_flight: int = 0
    most_in_flight: int = 0
    connections: set[tuple[str, int]] = field(default_factory=set)
    by_prompt: Counter[str] = field(default_factory=Counter)
    first_at: float | None = None
    last_at: float | None = None
    detail: list[dict[str, Any]] = field(default_factory=list)

    def enter(self, peer: tuple[str, int] | None) -> None:
        now = time.time()
        self.first_at = self.first_at or now
        self.last_at = now
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if peer is not None:
            self.connections.add(peer)

    def bill(self, usage: Usage, price: Price, prompt_hash: str) -> Cost:
        """Bill one call."""
        cost = price.of(usage)
        self.billed_calls += 1
        self.usage, self.cost = self.usage + usage, self.cost + cost
        self.by_prompt[prompt_hash] += 1
        if self.journal is not None:
            told = {"prompt": prompt_hash, "usd": decimal_string(cost.usd), "input": usage.input}
            with open(self.journal, "a", encoding="utf-8") as file:
                file.write(json.dumps({**told, "output": usage.output, "thoughts": usage.thoughts}) + "\n")
        return cost

    def note(self, status: int, code: str, text: str, *, cost: Cost | None, keep: bool) -> None:
        """Count a call's end; keep its detail where the settings ask for it."""
        self.calls[f"{status} {code}".strip()] += 1
        if keep and len(self.detail) < DETAIL_MOST:
            usd = decimal_string(cost.usd) if cost else "0"
            self.detail.append({"at": time.time(), "status": status, "code": code, "text": text[:200], "usd": usd})

    def told(self, *, detail: bool = False) -> dict[str, Any]:
        """The books as JSON."""
        books: dict[str, Any] = {
            "calls": sum(self.calls.values()),
            "calls_by_status": dict(self.calls),
            "billed_calls": self.billed_calls,
            "billed_usd": decimal_string(self.cost.usd),
            "billed_credits": decimal_string(self.cost.credits),
            "input_tokens": self.usage.input,
            "output_tokens": self.usage.output,
            "thought_tokens": self.usage.thoughts,
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
            "connections": len(self.connections),
            "prompts_billed": len(self.by_prompt),
            "prompts_billed_twice": sum(count > 1 for count in self.by_prompt.values()),
            "first_at": self.first_at,
            "last_at": self.last_at,
        }
        return {**books, "detail": self.detail} if detail else books
