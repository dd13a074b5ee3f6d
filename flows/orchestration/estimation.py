"""Estimation: what a job will cost on a model, from one pass over its input and what its output shows already."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from rowmill.schemas.catalogue import Model, find_model
from rowmill.schemas.errors import InputError, JobError
from rowmill.schemas.forecast import PILOT_SHARE, Forecast
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Fingerprint, Manifest, difference
from rowmill.schemas.price import PICO
from rowmill.schemas.usage import Usage
from rowmill.tasks.forecast.counted_rows import Tally
from rowmill.tasks.forecast.counting_pass import DryRun, seed_of
from rowmill.tasks.forecast.estimate import forecast
from rowmill.tasks.forecast.files import kept_ratio, write_rows
from rowmill.tasks.forecast.learned import Learned, learned_from
from rowmill.tasks.forecast.pilot_record import read_record
from rowmill.tasks.forecast.prior import expected_usd, guessed_output
from rowmill.tasks.forecast.settled_rows import SettledRows, settled_rows
from rowmill.tasks.forecast.tokens import Count, by_script, by_tokenizer
from rowmill.tasks.job.fingerprint import job_fingerprint
from rowmill.tasks.labelling.cascade import cascade_notes
from rowmill.tasks.output.answer_cache import bound_usd
from rowmill.tasks.output.manifest_file import read_manifest
from rowmill.tasks.output.spending import spent_in
from rowmill.tasks.plan.input_checks import refuse_impossible
from rowmill.tasks.plan.label_answer import validator_of
from rowmill.tasks.plan.label_prompt import as_asked
from rowmill.tasks.plan.vote_planners import planned_votes


@dataclass(frozen=True, slots=True)
class EstimateOptions:
    """Options of an estimate; none of them is part of the job."""

    pilot: int | str | None = None
    pilot_share: float = PILOT_SHARE
    tokenizer: str | None = None
    rows: bool = False
    compare: bool = False
    limit: int | None = None
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class Estimation:
    """A job on one model of a catalogue."""

    job: Job
    model: Model
    catalogue: Mapping[str, Model]
    options: EstimateOptions

    @property
    def _output(self) -> Path:
        return Path(self.job.output)

    def forecast(self) -> tuple[Forecast, Tally]:
        """One pass over the input, corrected by what the output's settled rows show."""
        job, output = self.job, self._output
        fingerprint, keys = job_fingerprint(job, sandbox=self.options.sandbox)
        settled = settled_rows(output, fingerprint)
        record = read_record(output, fingerprint)
        drawn = frozenset(bytes.fromhex(one.key) for one in record.drawn) if record else frozenset()
        tally = self._dry_run(settled, drawn).walk()
        paid = settled.paid(drawn | {one.key for one in tally.earlier}, validator_of(as_asked(job)))
        usd = expected_usd(job, self.model)
        learned = learned_from(tally, record, paid, expected_usd=usd, seed=seed_of(fingerprint))
        if learned is None and (ratio := kept_ratio(output, self.model.name)) is not None:
            tally = tally.scaled(ratio)
        return self._forecast_from(tally, learned, Fingerprint(fingerprint, keys)), tally

    def _forecast_from(self, tally: Tally, learned: Learned | None, fingerprint: Fingerprint) -> Forecast:
        before = read_manifest(self._output)
        spent, note = self._spent(before, fingerprint)
        result = forecast(
            self.job, self.model, tally, learned=learned, fingerprint=fingerprint.hash, spent_usd=spent, now=time.time()
        )
        before = before or Manifest()
        notes = [*result.notes, *([note] if note else []), *self._cascade(tally, before)]
        return msgspec.structs.replace(result, notes=notes, settled_input_tokens=float(before.totals.input_tokens))

    def _spent(self, before: Manifest | None, fingerprint: Fingerprint) -> tuple[float, str | None]:
        """What this job has cost in its output, unknown cost at its bound; and a note if the output is another's."""
        if before is not None and before.fingerprint.hash not in ("", fingerprint.hash):
            hint = "give this one another output, or run it with --fresh"
            told = difference(before.fingerprint.keys, fingerprint.keys)
            return 0.0, f"{self._output} holds the results of another job ({told}): {hint}"
        return bound_usd(spent_in(self._output)) / PICO, None

    def _cascade(self, tally: Tally, before: Manifest) -> list[str]:
        """Whether a labelling job that escalates can cost less than the stronger model alone."""
        label = self.job.label
        if label is None or label.escalate is None or not tally.to_ask:
            return []
        usage = Usage(round(tally.tokens / tally.to_ask), round(guessed_output(self.job, self.model)))
        stronger = find_model(label.escalate.model, self.catalogue)
        return cascade_notes(label, self.model, stronger, usage=usage, before=before)

    def _dry_run(self, settled: SettledRows, watched: frozenset[bytes] = frozenset()) -> DryRun:
        options = self.options
        count: Count = by_tokenizer(Path(options.tokenizer)) if options.tokenizer else by_script
        votes = planned_votes(self.job, self.model, self.catalogue, sandbox=options.sandbox)
        return DryRun(
            as_asked(self.job),
            self.model,
            votes,
            settled=settled,
            count=count,
            sandbox=options.sandbox,
            limit=options.limit,
            watched=watched,
            # A pilot draws from every row, and --rows tells of each.
            draws=options.pilot is None and not options.rows,
        )

    def on_other_models(self, result: Forecast) -> Iterator[dict[str, Any]]:
        """The same rows on every other model: its own prices, and the tokens that a sample of this one has taken."""
        for model in self.catalogue.values():
            if model.name != self.job.model and model.price is not None:
                job = self.job.model_copy(update={"model": model.name})
                yield {"model": model.name, **Estimation(job, model, self.catalogue, self.options)._beside(result)}

    def _beside(self, result: Forecast) -> dict[str, Any]:
        """This model's cost beside that of another's forecast."""
        try:
            refuse_impossible(as_asked(self.job), self.model)
            tally = self._dry_run(SettledRows()).walk()
        except (JobError, InputError) as error:
            return {"cannot": str(error)}
        assert self.model.price is not None
        if result.sample is not None:
            tokens = Usage(
                round(tally.tokens * result.sample.input_ratio * result.sample.calls_a_row),
                round(tally.to_ask * result.sample.mean_output_tokens),
            )
            usd = self.model.price.of(tokens).usd / PICO
            return {"rows": tally.to_ask, "estimate_usd": usd, "because": f"with the tokens that {result.model} used"}
        guess = forecast(
            self.job, self.model, tally, learned=None, fingerprint=result.job, spent_usd=0.0, now=time.time()
        )
        return {
            "rows": tally.to_ask,
            "estimate_usd": guess.cost_usd.estimate if guess.cost_usd else None,
            "because": "a guess, as for this model",
        }

    def write_rows(self, result: Forecast) -> None:
        """What each row will cost, beside the forecast. Raises StorageError."""
        ratio = result.sample.input_ratio if result.sample else 1.0
        dry_run = self._dry_run(settled_rows(self._output, result.job))
        write_rows(self._output, dry_run, ratio, intercept=result.intercept_usd, per_token=result.usd_per_token)
