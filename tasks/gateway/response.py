"""Response: status, headers and bytes → an answer or the failure it is. Total: it raises nothing for any bytes."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rowmill.schemas.attempt import Answer, Failure, FailureKind
from rowmill.schemas.catalogue import Model
from rowmill.tasks.gateway.protocols.body import WebPage, read
from rowmill.tasks.gateway.protocols.event_stream import ErrorInAnswer, StreamCut
from rowmill.tasks.gateway.protocols.fields import Unreadable
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS
from rowmill.tasks.gateway.refusals import failure_in_answer, failure_of


def read_response(
    status: int, headers: Mapping[str, str], content: bytes, *, model: Model, wall: float
) -> Answer | Failure:
    """What a whole response says. `wall` is now, for a Retry-After that is a date."""
    if not 200 <= status < 300:
        return failure_of(status, headers, content, wall=wall, errors=model.errors)
    protocol = PROTOCOLS[model.protocol]
    try:
        answer = protocol.decode(read(content, protocol.assemble))
    except StreamCut as error:
        return Failure(FailureKind.TRUNCATED, str(error))
    except ErrorInAnswer as error:
        return failure_in_answer(error.payload, model.errors)
    except WebPage as error:
        return Failure(FailureKind.WEB_PAGE, str(error))
    except Unreadable as error:
        return Failure(FailureKind.UNREADABLE_BODY, str(error))
    # More than these, in and out, no call can have used; and no text took nothing.
    total = answer.usage.total if answer.usage is not None else None
    if total is not None and (
        total > model.context_window + model.max_output_tokens or (total == 0 and (answer.text or answer.tool_calls))
    ):
        return msgspec.structs.replace(answer, usage=None)
    return answer
