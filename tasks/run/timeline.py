"""Timeline: how calls in flight, their limit and their pace went over a run, in a few hundred samples at most."""

from __future__ import annotations

from dataclasses import dataclass, field

from rowmill.schemas.timeline import TimelineSamples

SAMPLES_MOST = 240
STEP_S = 0.1


@dataclass(slots=True)
class Timeline:
    """Samples every `step_s` seconds. When there are too many, every second one is dropped and the step doubles."""

    step_s: float = STEP_S
    in_flight: list[int] = field(default_factory=list)
    limit: list[int] = field(default_factory=list)
    calls_a_minute: list[float] = field(default_factory=list)

    def note(self, in_flight: int, limit: int, calls_a_minute: float) -> None:
        """One sample."""
        self.in_flight.append(in_flight)
        self.limit.append(limit)
        self.calls_a_minute.append(round(calls_a_minute, 1))
        if len(self.in_flight) >= SAMPLES_MOST:
            for samples in (self.in_flight, self.limit, self.calls_a_minute):
                del samples[1::2]
            self.step_s *= 2

    def samples(self, rpm: float | None) -> TimelineSamples | None:
        """What there is until now; None before the first sample. `rpm` is the job's limit."""
        if not self.in_flight:
            return None
        return TimelineSamples(
            step_s=self.step_s,
            in_flight=list(self.in_flight),
            limit=list(self.limit),
            calls_a_minute=list(self.calls_a_minute),
            rpm=rpm,
        )
