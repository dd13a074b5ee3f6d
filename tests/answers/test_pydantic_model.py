"""Pydantic models: an answer that a model takes stands in the results, and makes the same object from there."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import uuid
import warnings
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    Json,
    RootModel,
    SecretStr,
    computed_field,
    field_validator,
    model_validator,
)  # fmt: skip

from rowmill.schemas.errors import SchemaError
from rowmill.tasks.answers.pydantic_model import model_schema, name_of
from rowmill.tasks.answers.validator import Accepted, Validator, output_value
from tests.answers.test_schema_file import column, restored

T = TypeVar("T")


class Named(BaseModel):
    """Aliases of three kinds."""

    quantity: int = Field(alias="Quantity")
    name: str = Field(validation_alias="Full Name")
    either: str = Field(validation_alias=AliasChoices("first", "second", AliasPath("names", 0)))


class Sums(BaseModel):
    """What is computed is no part of an answer."""

    a: int
    b: int

    @computed_field
    @property
    def both(self) -> int:
        return self.a + self.b


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Pet(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Of(BaseModel, Generic[T]):
    one: T
    several: list[T]


class Money(BaseModel):
    price: decimal.Decimal
    rate: Annotated[decimal.Decimal, Field(max_digits=6, decimal_places=2, ge=0)]
    discount: decimal.Decimal | None = None
    steps: list[decimal.Decimal] = []


class Amounts(RootModel[dict[str, decimal.Decimal]]):
    pass


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Kinds(BaseModel):
    """Types that JSON knows as text or number."""

    colour: Colour
    at: dt.datetime
    aware: AwareDatetime
    day: dt.date
    lasts: dt.timedelta
    id: uuid.UUID
    content: bytes
    inner: Json[dict[str, int]]
    secret: SecretStr
    page: HttpUrl
    by_number: dict[int, str]


class Node(BaseModel):
    name: str
    child: Node | None = None
    children: list[Node] = []


class Upper(BaseModel):
    """Validators that change what they are given."""

    code: str

    @field_validator("code", mode="before")
    @classmethod
    def _before(cls, value: Any) -> Any:
        return value.strip()

    @field_validator("code")
    @classmethod
    def _after(cls, value: str) -> str:
        return value.upper()

    @model_validator(mode="wrap")
    @classmethod
    def _wrap(cls, value: Any, make: Callable[[Any], Upper]) -> Upper:
        return make(value)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


TIMES = {"at": "2024-01-01T00:00:00", "aware": "2024-01-01T00:00:00+02:00", "day": "2024-02-29", "lasts": "PT1.5S"}
OTHERS = {
    "colour": "r", "id": "12345678-1234-5678-1234-567812345678", "content": "hé", "inner": '{"a": 1}', "secret": "pw",
    "page": "https://x.example/ä b", "by_number": {"1": "a"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "answer"),
    [
        (Named, {"Quantity": 1, "Full Name": "x", "first": "y"}),
        (Sums, {"a": 1, "b": 2}),
        (Pet, {"pet": {"kind": "cat", "lives": 9}}),
        (Of[int], {"one": 1, "several": [2]}),
        (Of[str], {"one": "1", "several": []}),
        (Money, {"price": "12.50", "rate": 1.25, "steps": ["0.10", 2]}),
        (Money, {"price": 3, "rate": "1", "discount": "1E+2"}),
        (Amounts, {"net": "1.10", "tax": 2}),
        (Kinds, {**TIMES, **OTHERS}),
        (Node, {"name": "a", "child": {"name": "b", "children": [{"name": "c"}]}}),
        (Upper, {"code": " ab "}),
        (Open, {"a": 1, "more": {"x": [1, None]}}),
    ],
)
def test_an_answer_makes_the_same_object_from_the_results(model, answer):
    """What `output` holds is what the model was told, so that it makes of it what it makes of the answer."""
    validator = Validator(model_schema(model, "schema"), name_of(model))
    verdict = validator.judge(json.dumps(answer))
    assert isinstance(verdict, Accepted), verdict
    told = column([output_value(verdict.text, validator.shape)], validator.shape.type).to_pylist()[0]
    back = restored(told, validator.shape.type, validator.shape)
    assert model.model_validate(back) == model.model_validate(answer)


def test_decimals_of_a_model_are_text_with_every_digit():
    """In whichever version pydantic writes them: neither a double nor JSON text, at any depth."""
    shape = Validator(model_schema(Money, "schema"), name_of(Money)).shape
    assert not shape.json_text_fields
    made = shape.convert({"price": "12.50", "rate": 1, "discount": None, "steps": ["0.10", 2.5]})
    assert {name: made.get(name) for name in Money.model_fields} == {
        "price": "12.50", "rate": "1", "discount": None, "steps": ["0.10", "2.5"],
    }  # fmt: skip
    assert not Validator(model_schema(Amounts, "schema")).shape.json_text_fields


def test_a_union_of_number_and_text_is_no_decimal():
    """1 and "1" are told apart where the model does."""

    class Either(BaseModel):
        v: float | str

    assert [field.pointer for field in Validator(model_schema(Either, "schema")).shape.json_text_fields] == ["/v"]


def test_a_field_that_no_answer_can_fill_in_is_refused():
    """pydantic's JSON Schema names no path of an alias: each answer would be paid and be invalid."""

    class Inner(BaseModel):
        name: str = Field(validation_alias=AliasPath("names", 0))

    class Outer(BaseModel):
        inner: list[Inner]

    class ByName(Inner):
        model_config = ConfigDict(populate_by_name=True)

    with pytest.raises(SchemaError, match="AliasPath"):
        model_schema(Outer, "schema")
    assert model_schema(ByName, "schema")


def test_nothing_is_printed_about_a_schema():
    """A default that JSON does not know warns nobody at the terminal."""

    class Lazy(BaseModel):
        made: Any = object()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "default" not in model_schema(Lazy, "schema")["properties"]["made"]
