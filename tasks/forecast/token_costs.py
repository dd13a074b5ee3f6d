"""Token costs: tokens of each class of characters by what stands before it.

Written by `python -m benchmarks token-fit`. Rows are the left neighbour, columns the right one, in the order of
token_classes.py; letters in twentieths of a token.
"""

# In twentieths of a token, 0 to 9 and a to z.
LETTER_PAIRS = """
a          a400gd838j0010e1m040251e87537bb
b          b877076g05706777796807870788a87
c          17870777a600770770500787a0060b7
d          075z184r046a80367f49d8j7a6509d7
e          c000c2b6a9ca006b6007ae904c30787
f          i967db79e7787b677a805787a7e7877
g          kfb977009b4a71d8702a47f7c76e277
h          36980877197565377774hif7d707087
i          030030hbj7i250007600p49ajh06088
j          67797778g7586a97775c27777796977
k          g688b604h7e474sb7dd6h7e7aa3d887
l          378006840b55500a36pb48j707e93f7
m          716c0aaka680bac078a4978786760f7
n          j700330545g26e757770e0n78ee28a7
o          lb06907a0jj170aa905804065643578
p          c7760864i7615800700207b766j7c77
q          i7788777a77877c7787807777787777
r          4d623b56160043095a043877005hac7
s          ba97078b96d67a4577060557d0e0697
t          h85706800b15750470c4170f0e2a0c7
u          00090526590b5780d030k6955d80188
v          67670778f676782779a7l787782c4a7
w          7987d780077a84067957f78786b4b77
x          j757e677877777907770b7776667677
y          052kbd96b55b7sg0793516778790697
z          58978748d87762j8679569770a1b977
western    360b3304z855060377a37527512077f
central    pl0626d7id8070b6883f9b671304097
vietnamese 080b77a9079e40507e700777597707w
rare       f7998777j7a99d777gbd7777a878777
combining  77a77777a7878d77777a87777777877
"""
# In tokens.
NEIGHBOURS = """
lower    -    -    1.14 0.92 -    0.88 1.42 0.86 1.57 0.92 -    -    0.45 0.01 0.26
accent   -    -    -    -    1.04 -    1.20 0.79 1.46 0.38 0.11 -    0.01 -    1.29
upper    -    2.26 0.25 2.09 0.26 0.39 1.28 -    1.07 1.23 0.92 0.47 0.73 0.02 -
digit    1.09 -    1.18 0.90 0.72 0.79 0.17 0.53 -    1.01 -    1.35 1.87 0.16 1.52
space    0.49 0.95 0.10 1.66 0.11 0.05 2.64 -    0.37 0.50 0.54 0.33 0.36 0.76 -
tab      -    0.01 1.03 1.53 0.26 0.48 0.01 0.11 -    0.59 0.52 -    0.07 -    0.63
line     0.49 0.81 1.26 2.69 0.41 1.20 -    0.66 0.72 0.81 0.29 0.59 -    -    0.73
stop     -    0.01 2.24 0.78 0.46 0.18 1.58 0.75 -    -    -    -    -    0.17 0.91
quote    -    3.24 3.18 -    0.20 -    0.29 -    -    -    0.52 -    0.56 -    -
dash     0.88 2.05 -    1.18 1.56 -    -    -    -    -    0.03 0.77 0.79 -    2.27
slash    0.80 -    1.33 0.79 0.30 -    -    0.09 0.40 -    -    -    0.76 -    0.51
bracket  0.99 -    1.82 1.04 1.04 -    1.91 -    -    0.48 0.01 -    1.70 0.13 0.77
mark     1.48 0.23 0.90 1.33 -    0.15 0.36 0.75 0.01 0.54 0.69 -    0.11 -    0.39
picture  -    -    -    -    -    -    0.15 -    0.02 0.03 -    -    0.26 -    -
other    0.76 -    -    -    -    0.23 0.98 0.86 0.09 0.18 0.54 0.28 -    -    -
"""
# Twentieths again: of a small Cyrillic letter before and after another.
CYRILLIC_COSTS = {
    "before": "4010600401300000000113a2608004060a1328f7954",
    "after": "g200010500201101100a2174507005000d0127e7954",
}
# Tokens of the first unit of a stretch and of each next one.
SCRIPT_COSTS = {
    "cyrillic": (0.62, 0.68),
    "cyrillic, rare": (0.73, 0.89),
    "cyrillic, upper": (0.57, 0.74),
    "greek": (1.38, 0.19),
    "armenian": (1.19, 0.43),
    "hebrew": (0.77, 0.45),
    "arabic": (0.00, 0.49),
    "arabic, vowels": (0.65, 0.65),
    "arabic, rare": (0.00, 1.33),
    "arabic, persian": (0.00, 0.11),
    "devanagari": (0.27, 0.59),
    "devanagari, signs": (0.00, 0.00),
    "bengali": (0.43, 0.22),
    "gurmukhi": (0.45, 0.70),
    "gujarati": (1.32, 0.20),
    "tamil": (0.23, 0.26),
    "telugu": (0.00, 0.50),
    "kannada": (0.00, 0.47),
    "malayalam": (0.80, 0.24),
    "sinhala": (0.68, 0.45),
    "thai": (0.00, 0.34),
    "lao": (0.73, 0.55),
    "tibetan": (1.35, 0.67),
    "burmese": (0.80, 0.40),
    "georgian": (0.00, 0.47),
    "korean": (0.49, 0.71),
    "ethiopic": (0.67, 0.84),
    "cherokee": (1.67, 3.63),
    "syllabics": (0.74, 1.16),
    "khmer": (0.30, 0.46),
    "kana": (0.00, 0.42),
    "han": (0.82, 0.52),
    "wide marks": (2.00, 0.62),
    "punctuation": (1.38, 1.06),
    "joiner": (1.08, 0.45),
    "variation": (0.33, 0.50),
    "symbol": (0.73, 1.35),
    "pictograph": (0.62, 0.50),
    "flag": (0.50, 0.50),
    "astral": (0.52, 0.50),
    "second half": (0.64, 0.50),
    "other": (1.60, 0.50),
}
# Tokens of each letter of RUNS beyond the longest word.
RUN_COSTS = (0.121, 0.253)
