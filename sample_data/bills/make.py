"""Makes rows.jsonl: 240 bills in four languages with the fields that are in them. Nothing in them is real."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

Line = tuple[str, int, int]
NAMES = {
    "en": (["Marlow & Finch Ltd", "Harbour Tools Inc.", "O’Neill Supplies", "The Old Mill Bakery"],
           ["brass cog", "oak shelf", "desk lamp", "box of screws", "steel-wire brush", "door handle", "paint, white"]),
    "de": (["Müller & Söhne GmbH", "Werkzeug-Handel Köln", "Bäckerei Weiß", "Elektro Jürgens KG"],
           ["Zahnrad", "Eichenregal", "Schreibtischlampe", "Türgriff", "Stahlbürste", "Kiste Schrauben", "Kabel"]),
    "fr": (["L’Atelier du Bois", "Société Lefèvre", "Quincaillerie Durand & fils", "Café de la Gare"],
           ["roue dentée", "étagère en chêne", "lampe de bureau", "poignée de porte", "boîte de vis", "brosse"]),
    "ja": (["株式会社山田製作所", "有限会社青木商店", "東京機械工業株式会社", "カフェ・ミモザ"],
           ["歯車", "本棚", "デスクランプ", "ドアノブ", "ワイヤーブラシ", "木ねじ（箱）", "延長コード"]),
}  # fmt: skip
MONTHS = {
    "en": [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ],
    "de": [
        "Januar",
        "Februar",
        "März",
        "April",
        "Mai",
        "Juni",
        "Juli",
        "August",
        "September",
        "Oktober",
        "November",
        "Dezember",
    ],
    "fr": [
        "janvier",
        "février",
        "mars",
        "avril",
        "mai",
        "juin",
        "juillet",
        "août",
        "septembre",
        "octobre",
        "novembre",
        "décembre",
    ],
}
WIDE = str.maketrans("0123456789,", "０１２３４５６７８９，")


def money(cents: int, language: str) -> str:
    whole = f"{cents // 100:,}"
    if language == "en":
        return f"${whole}.{cents % 100:02}"
    if language == "de":
        return f"{whole.replace(',', '.')},{cents % 100:02} €"
    if language == "fr":
        return f"{whole.replace(',', chr(0x202F))},{cents % 100:02} €"
    return f"{cents:,}円"


def day(when: date, language: str, rng: random.Random) -> str:
    if language == "ja":
        era = f"令和{when.year - 2018}年{when.month}月{when.day}日"
        return rng.choice([f"{when.year}年{when.month}月{when.day}日", era, era.translate(WIDE)])
    month = MONTHS[language][when.month - 1]
    if language == "en":
        return rng.choice([f"{when.day} {month} {when.year}", f"{month} {when.day}, {when.year}"])
    numbers = (
        f"{when.day:02}.{when.month:02}.{when.year}"
        if language == "de"
        else f"{when.day:02}/{when.month:02}/{when.year}"
    )
    return rng.choice([f"{when.day}{'.' if language == 'de' else ''} {month} {when.year}", numbers])


def english(n: str, seller: str, issued: str, due: str | None, lines: list[Line], total: str) -> str:
    rows = "\n".join(f"  {quantity} x {name:<18}{money(price, 'en'):>12}" for name, quantity, price in lines)
    term = f"Please pay by {due}." if due else "Paid in cash, with thanks."
    return f"{seller}\nInvoice {n}, {issued}\n\n{rows}\n  {'Total':<22}{total:>12}\n\n{term}"


def german(n: str, seller: str, issued: str, due: str | None, lines: list[Line], total: str) -> str:
    rows = "\n".join(f"{quantity} Stück {name} zu je {money(price, 'de')}" for name, quantity, price in lines)
    term = f"Zahlbar bis zum {due} – ohne Abzug." if due else "Betrag dankend erhalten."
    return f"{seller}\nRechnung Nr. {n} vom {issued}\n{rows}\nGesamt\u00adbetrag: {total}\n{term}"


def french(n: str, seller: str, issued: str, due: str | None, lines: list[Line], total: str) -> str:
    rows = " ; ".join(f"{quantity} × « {name} » à {money(price, 'fr')}" for name, quantity, price in lines)
    term = f"À régler avant le {due}." if due else "Réglé par carte."
    return f"{seller} – facture n° {n} du {issued}.\nNous vous avons livré : {rows}.\nTotal à payer : {total}. {term}"


def japanese(n: str, seller: str, issued: str, due: str | None, lines: list[Line], total: str) -> str:
    rows = "\n".join(
        f"・{name}　{str(quantity).translate(WIDE)}個　単価{money(price, 'ja')}" for name, quantity, price in lines
    )
    term = f"お支払期限：{due}" if due else "現金にて領収いたしました。"
    return f"請求書（番号{n}）\n発行日：{issued}\n{rows}\n合計金額　金{total.translate(WIDE)}也\n{term}\n{seller}"


TEXTS: dict[str, Callable[..., str]] = {"en": english, "de": german, "fr": french, "ja": japanese}


def bill(number: int, rng: random.Random) -> dict[str, Any]:
    language = ("en", "de", "fr", "ja", "ja")[number % 5]
    sellers, things = NAMES[language]
    seller, name = rng.choice(sellers), f"{rng.randint(100, 999)}-{number:03}"
    issued = date(2022, 1, 1) + timedelta(rng.randint(0, 1_200))
    due = issued + timedelta(rng.choice([14, 30, 60])) if rng.random() < 0.8 else None
    # Prices repeat on purpose: which of them is meant shows in the quote's place alone.
    prices = [rng.choice([250, 500, 1_200, 4_950, 125_000]) for _ in range(2)]
    lines = [(thing, rng.randint(1, 24), rng.choice(prices)) for thing in rng.sample(things, rng.randint(1, 4))]
    total = sum(quantity * price for _, quantity, price in lines)
    unit = 1 if language == "ja" else 100
    text = TEXTS[language](
        name, seller, day(issued, language, rng), due and day(due, language, rng), lines, money(total, language)
    )
    truth = {
        "number": name, "seller": seller, "issued": issued.isoformat(), "due": due and due.isoformat(),
        "total": total / unit, "currency": {"en": "USD", "ja": "JPY"}.get(language, "EUR"),
        "lines": [{"name": thing, "quantity": quantity, "price": price / unit} for thing, quantity, price in lines],
    }  # fmt: skip
    return {"bill_id": f"{language}-{number:03}", "language": language, "text": text, "truth": truth}


def main() -> None:
    rng = random.Random(24)
    rows = [bill(number, rng) for number in range(240)]
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    Path(__file__).with_name("rows.jsonl").write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
