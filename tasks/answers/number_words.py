"""Number words: small numbers and hundreds as languages spell them, to tell that a passage may say one in words.

Nothing is read from them: whoever finds one leaves the matter to a person.
"""

from __future__ import annotations

import re
from itertools import chain

from rowmill.tasks.answers.normal_form import normalized

_VALUES = (*range(13), 20, 30, 40, 50, 60, 70, 80, 90)
# By language in the order of the values; several words of one value by a stroke, `-` for none of its own.
_LANGUAGES = """
English: zero/no/none/nil/free/without one/a/an/once/single/first two/both/pair/twice/double/second three/third four
  five six seven eight nine ten eleven twelve/dozen twenty thirty forty fifty sixty seventy eighty ninety
German: null/kein/keine/keinen/keiner/ohne/frei ein/eins/eine/einen/einem/einer/eines/einmal zwei/beide drei vier
  fünf sechs sieben acht neun zehn elf zwölf zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig
French: zéro/aucun/aucune/sans/gratuit un/une deux trois quatre cinq six sept huit neuf dix onze douze vingt trente
  quarante cinquante soixante - - -
Spanish: cero/ningún/ninguno/ninguna/sin/gratis uno/un/una dos tres cuatro cinco seis siete ocho nueve diez once doce
  veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa
Italian: zero/nessuno/nessuna/senza uno/un/una due tre quattro cinque sei sette otto nove dieci undici dodici venti
  trenta quaranta cinquanta sessanta settanta ottanta novanta
Portuguese: zero/nenhum/nenhuma/sem um/uma dois/duas três quatro cinco seis sete oito nove dez onze doze vinte trinta
  quarenta cinquenta sessenta setenta oitenta noventa
Dutch: nul/geen/zonder een/één twee drie vier vijf zes zeven acht negen tien elf twaalf twintig dertig veertig
  vijftig zestig zeventig tachtig negentig
Scandinavian: noll/ingen/inga/nul/null en/ett/et/én/ein två/to tre fyra/fire fem sex/seks sju/syv åtta/otte/åtte
  nio/ni tio/ti elva/elleve tolv tjugo/tyve/tjue trettio/tredive/tretti fyrtio/fyrre/førti femtio/halvtreds/femti
  sextio/tres/seksti sjuttio/sytti åttio/firs/åtti nittio/halvfems/nitti
Finnish: nolla yksi kaksi kolme neljä viisi kuusi seitsemän kahdeksan yhdeksän kymmenen
Hungarian: nulla egy két/kettő három négy öt hat hét nyolc kilenc tíz - - húsz harminc negyven ötven hatvan hetven
  nyolcvan kilencven
Polish: zero/bez jeden/jedna/jedno dwa/dwie trzy cztery pięć sześć siedem osiem dziewięć dziesięć
Czech: nula/bez jeden/jedna/jedno dva/dvě tři čtyři pět šest sedm osm devět deset
Slavonic: nula/bez jedan/jedna/jedno dva/dvije/dve tri četiri/štiri/štyri pet/päť šest/šesť sedam/sedem osam/osem
  devet/deväť deset/desať
Romanian: zero/fără un/una/o doi/două trei patru cinci șase șapte opt nouă zece
Turkish: sıfır bir iki üç dört beş altı yedi sekiz dokuz on - - yirmi otuz kırk elli altmış yetmiş seksen doksan
Malay: nol/tanpa/tiada satu/se dua tiga empat/ampat lima enam tujuh delapan/lapan sembilan sepuluh sebelas
Vietnamese: không một hai ba bốn năm sáu bảy tám chín mười
Russian: ноль/нет/без один/одна/одно два/две три четыре пять шесть семь восемь девять десять одиннадцать двенадцать
  двадцать тридцать сорок пятьдесят шестьдесят семьдесят восемьдесят девяносто
Ukrainian: нуль/без один/одна/одне два/дві три чотири п'ять шість сім вісім дев'ять десять - - двадцять тридцять
  сорок
Greek: μηδέν/χωρίς ένα/ένας/μία/μια δύο/δυο τρία/τρεις τέσσερα/τέσσερις πέντε έξι επτά/εφτά οκτώ/οχτώ εννέα/εννιά
  δέκα έντεκα δώδεκα είκοσι
Hindi: शून्य एक दो तीन चार पाँच/पांच छह/छः सात आठ नौ दस ग्यारह बारह बीस तीस चालीस पचास
Arabic: صفر/بدون واحد/واحدة اثنان/اثنين/اثنتان ثلاثة/ثلاث أربعة/أربع خمسة/خمس ستة/ست سبعة/سبع ثمانية/ثماني تسعة/تسع
  عشرة/عشر - - عشرون/عشرين ثلاثون/ثلاثين
Hebrew: אפס/ללא אחד/אחת שניים/שתיים/שני/שתי שלושה/שלוש ארבעה/ארבע חמישה/חמש שישה/שש שבעה/שבע שמונה תשעה/תשע עשרה/עשר
  - - עשרים שלושים
"""
_NUMBERS: dict[str, set[int]] = {}
for _words_of_one in re.split(r"^\w+: ", _LANGUAGES, flags=re.MULTILINE):
    for _value, _words in zip(_VALUES, _words_of_one.split(), strict=False):
        for _word in _words.split("/"):
            _NUMBERS.setdefault(normalized("NFKC", _word).casefold(), set()).add(_value)
# What numbers are made with that are one word: fünfzehn, einundzwanzig, ventidue, kahdeksantoista, tizenöt.
_COMPOUND = re.compile(
    r"\w+(?:teen|zehn|zig|ßig|tien|tig|toista|kymmentä|надцать|дцять|naście|dzieścia|dzieści|dziesiąt|náct|cet|belas)\b|\btizen\w+"
    r"|\b(?:treize|quatorze|quinze|seize|trece|catorce|dieci\w+|\w+dici|vent\w+|\w+ant[au]\w+|dezes\w+|(?:tret|fjor|fem|sex|sjut|ar|nit)ton)\b|puluh\b|mươi\b"
    r"|\b(?:soixante|quatre-vingts?)-\w+|สิบ|[이삼사오육칠팔구]?십|(?:하나|둘|셋|넷|다섯|여섯|일곱|여덟|아홉|열)",
    re.IGNORECASE,
)
_LARGE = re.compile(
    r"hundred|thousand|million|billion|trillion|hundert|tausend|honderd|duizend|hundra|hundre|tusen|tusind|sata|tuhat|száz|ezer"
    r"|\b(?:cento|cien|cientos?|mille|mil|mila|sto|sta|tysi[ąę]c[ye]?|tisíc|hiljad\w+|sut[ăe]|mie|mii|yüz|ratus|ribu|trăm|nghìn"
    r"|ngàn|сто|двести|триста|тысяч\w*|тисяч\w*|εκατό|χίλι\w+|χιλιάδες|सौ|हज़ार|हजार|مائة|مئة|ألف|آلاف|מאה|מאות|אלף|אלפים)\b"
    r"|(?:deux|trois|quatre|cinq|six|sept|huit|neuf)[ -]cents?|ร้อย|พัน|หมื่น|แสน|ล้าน|백|천",
    re.IGNORECASE,
)  # fmt: skip
_WORD = re.compile(r"[^\s\d.,;:!?()\[\]/-]+")
_SMALL = range(101)


def may_be_in_words(size: int, text: str) -> bool:
    """Whether words of a text may say this number."""
    if _LARGE.search(text) is not None:
        return True
    if size not in _SMALL:
        return False
    if size > max(range(13)) and _COMPOUND.search(text) is not None:
        return True
    named = set(
        chain.from_iterable(_NUMBERS.get(word, ()) for word in _WORD.findall(normalized("NFKC", text.casefold())))
    )
    return size in named or (size - size % 10 in named and size % 10 in named)
