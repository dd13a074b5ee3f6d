"""Argument types: what a flag's text may be, and the value that it stands for."""

from __future__ import annotations

import argparse
from decimal import Decimal, InvalidOperation
from typing import Any

from rowmill.schemas.price import MONEY_MOST
from rowmill.schemas.row import PARTS_MOST


def positive_usd(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no sum of money above 0, such as 20 or 0.50")
    return amount


class SandboxSettings(argparse.Action):
    """`--sandbox-settings` implies `--sandbox`."""

    def __call__(self, _: Any, namespace: argparse.Namespace, values: Any, __: str | None = None) -> None:
        namespace.sandbox, namespace.sandbox_settings = True, values


def pilot(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a number of rows")
    return int(text)


def share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: a number above 0 and up to 1, such as 0.05")
    return share


def usd(text: str) -> float:
    value = float(text)
    if not 0 < value <= MONEY_MOST:
        raise ValueError
    return value


usd.__name__ = "sum above 0"


def usd_or_nothing(text: str) -> float:
    value = float(text)
    return value if value == 0 else usd(text)


usd_or_nothing.__name__ = "sum from 0"


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


positive.__name__ = "whole number from 1"


def parts(text: str) -> int:
    value = int(text)
    if not 1 <= value <= PARTS_MOST:
        raise ValueError
    return value


parts.__name__ = f"whole number from 1 to {PARTS_MOST}"
