"""What a notebook and a script show of an error: the caller's frames alone, and all of them of what may be a defect."""

from __future__ import annotations

import types

import pytest

from rowmill.flows.text.python_words import ToldInPython
from rowmill.schemas.errors import InputError


def ours(then):
    """A frame that is taken for one of rowmill's own."""
    scope = {"__name__": "rowmill.tasks.deep", "then": then}
    exec("def deep_within():\n    then()", scope)
    made = scope["deep_within"]
    assert isinstance(made, types.FunctionType)
    return made


def refuse() -> None:
    raise InputError("no such file", where="rows.csv", hint="name another")


def refuse_upon_another() -> None:
    try:
        raise ValueError("deep trouble")
    except ValueError as error:
        raise InputError("cannot be read", where="rows.csv", hint="look after it") from error


def test_a_mistake_is_shown_where_the_caller_made_it():
    """The caller's frame and the message; no frame of rowmill's."""
    with pytest.raises(InputError) as met:
        ours(refuse)()
    shown = "\n".join(met.value._render_traceback_())
    assert "test_a_mistake_is_shown" in shown
    assert shown.endswith("rows.csv: no such file. Name another")
    assert "deep_within" not in shown


def test_what_lies_on_another_error_is_shown_whole():
    """It may be a defect: every frame, and the error beneath."""
    with pytest.raises(InputError) as met, ToldInPython():
        ours(refuse_upon_another)()
    shown = "\n".join(met.value._render_traceback_())
    assert "deep_within" in shown
    assert "deep trouble" in shown


def test_another_error_keeps_its_frames():
    """A defect is raised on as it is."""
    with pytest.raises(ZeroDivisionError) as met, ToldInPython():
        ours(lambda: 1 / 0)()
    assert not hasattr(met.value, "_render_traceback_")
    frames = met.value.__traceback__
    assert frames is not None
    assert frames.tb_next is not None


def test_a_mistake_begins_where_it_was_called():
    """Raised on out of the call, it has forgotten the frames within."""

    def call() -> None:
        with ToldInPython():
            ours(refuse)()

    with pytest.raises(InputError) as met:
        call()
    frames = met.value.__traceback__
    assert frames is not None
    assert frames.tb_next is None


def test_what_happened_and_the_way_out_are_two_sentences():
    """A question keeps its mark, and gets no full stop behind it."""
    assert str(InputError("no such column; did you mean 'a'?", where="f", hint="fix it")).endswith("'a'? Fix it")
    assert str(InputError("no such file", where="f", hint="name another")) == "f: no such file. Name another"
