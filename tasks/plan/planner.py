"""Plan: a row → the request that will be sent for it, or the outcome of a row that cannot be asked."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import pyarrow as pa

from rowmill.schemas.attempt import FailureKind
from rowmill.schemas.catalogue import Model
from rowmill.schemas.job import Job
from rowmill.schemas.json_text import JsonTextError, encode_json
from rowmill.schemas.kept_values import kept
from rowmill.schemas.label import Label, Labels
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.pack import PLACE
from rowmill.schemas.price import ZERO
from rowmill.schemas.request import SCHEMA_INSTRUCTION, AskOptions, Common, Media, Request, Text, Turn, request_key
from rowmill.schemas.row import Row, Unreadable
from rowmill.schemas.section import Affects, identity
from rowmill.tasks.answers.validator import schema_text
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS
from rowmill.tasks.job.native_schema import goes_native, schema_name
from rowmill.tasks.plan.evidence_plan import added_instruction, sent_schema
from rowmill.tasks.plan.label_gold import GoldReader
from rowmill.tasks.plan.label_prompt import AskedJob, without_gold
from rowmill.tasks.plan.media import MediaError, read_media
from rowmill.tasks.plan.media_count import count_media
from rowmill.tasks.plan.own_request import own_body, own_request
from rowmill.tasks.plan.template import Template, TemplateError
from rowmill.tasks.plan.worst_case import refusal


class Planner:
    """Plans rows of one job. Pure: the same row gives the same request, byte for byte."""

    def __init__(self, job: Job, model: Model, *, sandbox: bool, run_id: str = "", vote: int = 0) -> None:
        """`vote` is the number of the vote about fields that it plans, the first is 0."""
        self._job, self._model, self._run_id, self._sandbox = job, model, run_id, sandbox
        # Planners of the orders in which rows see the labels, where they see them in more than one.
        self._at_turn: dict[int, Planner] = {}
        self._protocol = PROTOCOLS[model.protocol]
        self._prompt = Template(job.prompt, "prompt") if job.prompt is not None else None
        self.native = goes_native(job, model)
        schema: Any = sent_schema(job, native=self.native)
        self._instruction = None
        if schema is not None and not self.native:
            self._instruction = f"{SCHEMA_INSTRUCTION}\n{schema_text(schema)}"
        if (evidence := added_instruction(job)) is not None:
            self._instruction = f"{self._instruction}\n\n{evidence}" if self._instruction else evidence
        self._ask = AskOptions(
            params=job.params,
            tools=tuple(job.tools),
            schema=schema if self.native else None,
            schema_name=schema_name(job.output_schema),
        )
        self._salt = _salt(job, model, vote, sandbox=sandbox)
        self._common = self._common_part(schema) if job.pack_size > 1 and self._prompt is not None else None
        self._shown_rows = _rows_shown(job.label)
        self._label_names = frozenset(job.label.names if job.label else ())
        self._gold_reader = GoldReader(job.label) if job.label else None
        # Kept columns of JSON rows, whose values are only known as they are met.
        self.keep_types: Mapping[str, pa.DataType] = {}

    def plan(self, row: Row) -> Request | Outcome:
        """The request of a row, or its outcome where none can be made of it (nothing is sent for it)."""
        if isinstance(self._job, AskedJob):
            return self._turned(self._job, row).plan(row)
        try:
            for name, type_ in self.keep_types.items():
                kept(row.columns.get(name), type_)
        except ValueError as error:
            return self._never_asked(row, Status.UNREADABLE, "kept_column", message=str(error))
        columns = without_gold(row.columns, self._job.gold_column)
        try:
            media = self._media(columns)
            text = self._prompt.render(columns) if self._prompt is not None else None
            body = self._body(columns, text, media)
            key = request_key(self._salt, body)
        except TemplateError as error:
            return self._never_asked(row, Status.FAILED, "template", message=str(error))
        except MediaError as error:
            return self._never_asked(row, Status.FAILED, "media", message=str(error))
        except (JsonTextError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            message = f"the row's own request cannot be sent: {error}"
            return self._never_asked(row, Status.FAILED, FailureKind.INVALID_REQUEST.value, message=message)
        media = media or self._own_media(body, text)
        counted = count_media(media, self._model, self._protocol.media_resolution(body))
        return Request(
            row,
            key,
            body,
            media=len(media),
            media_chars=counted.chars,
            media_tokens=counted.tokens,
            media_most=counted.most,
            media_unmeasured=counted.unmeasured,
            gold=self._gold(row),
            common=None if text is None else self._common_of(text),
            own="" if text is None or self._common is None else self._own_part(text, self._common),
        )

    def _common_part(self, schema: Any) -> Common:
        """What the rows of this planner share when they are asked together."""
        before, after = self._prompt.ends if self._prompt is not None else ("", "")
        if PLACE in before or PLACE in after:
            before = after = ""
        more = added_instruction(self._job)
        return Common(self._ask, self._job.system, before, after, schema, self.native, more)

    def _common_of(self, text: str) -> Common | None:
        common = self._common
        if common is None or not (text.startswith(common.before) and text.endswith(common.after)):
            return None
        return common if len(text) >= len(common.before) + len(common.after) else None

    @staticmethod
    def _own_part(text: str, common: Common) -> str:
        return text[len(common.before) : len(text) - len(common.after)]

    def _turned(self, job: AskedJob, row: Row) -> Planner:
        """The planner of the order in which a row sees the labels."""
        turn = job.turn_of(self._asked_text(without_gold(row.columns, job.gold_column)))
        planner = self._at_turn.get(turn)
        if planner is None:
            planner = Planner(job.at_turn(turn), self._model, sandbox=self._sandbox, run_id=self._run_id)
            self._at_turn[turn] = planner
        planner.keep_types = self.keep_types
        return planner

    def _asked_text(self, columns: Mapping[str, Any]) -> str:
        """What a row asks, apart from its labels and media. Nothing for one that cannot be asked."""
        try:
            if self._prompt is not None:
                return self._prompt.render(columns)
            return encode_json(own_request(columns)[0]).decode()
        except (TemplateError, ValueError, TypeError, KeyError, AttributeError):
            return ""

    def _gold(self, row: Row) -> Labels | None:
        """A row's right labels. One that is shown as an example has none: it would score itself."""
        label = self._job.label
        if label is None or self._gold_reader is None or label.gold is None or row.row_id in self._shown_rows:
            return None
        try:
            gold = self._gold_reader.labels(row.columns.get(label.gold))
        except ValueError:
            return None
        return gold if gold is None or self._label_names.issuperset(gold) else None

    def _media(self, columns: Mapping[str, Any]) -> list[Media]:
        """The media of a row's attachment columns, read now and held by its request alone."""
        found: list[Media] = []
        room = self._job.limits.max_media_bytes
        for name in self._job.attachments:
            media = read_media(
                columns.get(name), self._job.media_root, room, by_reference=self._model.media_by_reference
            )
            room -= sum(len(medium.base64 or "") * 3 // 4 for medium in media)
            found.extend(media)
        return found

    def _own_media(self, body: dict[str, Any], text: str | None) -> list[Media]:
        """The media that a row's own turns hold."""
        if text is not None:
            return []
        try:
            return [part for turn in self._protocol.turns(body) for part in turn.parts if isinstance(part, Media)]
        except (ValueError, TypeError, KeyError, AttributeError):
            # Of another form than turns have: sent as it stands.
            return []

    def _body(self, columns: Mapping[str, Any], text: str | None, media: list[Media]) -> dict[str, Any]:
        body = self._from_text(text, media) if text is not None else self._own(columns, media)
        if (reason := self._protocol.excluded(body, self._model)) is not None:
            raise ValueError(reason)
        return self._protocol.add_text(body, self._instruction) if self._instruction else body

    def _from_text(self, text: str, media: list[Media]) -> dict[str, Any]:
        if not text.strip():
            raise TemplateError("the prompt is empty")
        turns = [Turn("user", (Text(text), *media))]
        if self._job.system:
            turns.insert(0, Turn("system", (Text(self._job.system),)))
        return self._protocol.body(turns, self._ask, self._model)

    def _own(self, columns: Mapping[str, Any], media: list[Media]) -> dict[str, Any]:
        """The body of a row that carries its own request."""
        request, protocol = own_request(columns)
        if protocol is None:
            return self._from_text(request["prompt"], media)
        if media:
            raise ValueError("attachments go with a prompt; this row brings its own turns, which can hold its media")
        body = own_body(request, protocol, self._ask, model=self._model)
        # What the job itself adds to a body is checked once, before the first row.
        if (reason := refusal(self._model, body, capped=self._job.is_capped)) is not None:
            raise ValueError(reason)
        return self._protocol.add_system(body, self._job.system) if self._job.system else body

    def never_read(self, row: Unreadable) -> Outcome:
        """The outcome of a line that is no row."""
        return Outcome(
            row.row_id,
            row.index,
            Status.UNREADABLE,
            error_kind="unreadable",
            error_message=row.message,
            response_text=None,
            run_id=self._run_id,
        )

    def stands_twice(self, row: Row, first: int) -> Outcome:
        """The outcome of a row whose id an earlier row has."""
        message = f"{row.place}: the id {row.row_id!r} stands in row {first} too"
        return self._never_asked(row, Status.UNREADABLE, "duplicate_id", message=message, row_id=f"#{row.index}")

    def _never_asked(self, row: Row, status: Status, kind: str, *, message: str, row_id: str | None = None) -> Outcome:
        return Outcome(
            row_id or row.row_id,
            row.index,
            status,
            error_kind=kind,
            error_message=message,
            wasted_usd=ZERO.usd,
            run_id=self._run_id,
        )


def shown_text(request: Request, model: Model) -> str:
    """What a person would read of a request: the texts of its user turns."""
    turns = PROTOCOLS[model.protocol].turns(request.body)
    return "\n\n".join(
        part.text for turn in turns if turn.role == "user" for part in turn.parts if isinstance(part, Text)
    )


def _salt(job: Job, model: Model, vote: int, *, sandbox: bool) -> bytes:
    told: list[Any] = [model.protocol, model.wire_name, job.output_schema, "sandbox" if sandbox else "gateway"]
    if job.label is not None:
        # The answer that is kept is that of all votes together.
        told.append(job.label.identity())
    if job.has_votes and job.votes is not None:
        told.append({"votes": identity(job.votes, {Affects.ANSWERS}), "vote": vote})
    if job.pack_size != 1:
        # How many are asked together is a way of asking; who they are is not.
        told.append({"rows_per_call": job.pack_size})
    return blake2b(encode_json(told), digest_size=16).digest()


def _rows_shown(label: Label | None) -> frozenset[str]:
    """Ids of the rows that the model is shown as examples."""
    if label is None or isinstance(label.examples, int):
        return frozenset()
    return frozenset(one.row_id for one in label.examples if one.row_id is not None)
