"""Random walks under the law of money, without hypothesis: seeded, shrunk, and printed as scripts to walk again.

python -m tests.law.random_walk --sequences 100 --seed 1
python -m tests.law.random_walk --replay walk.txt
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.law import runs
from tests.law.stage import Stage, in_memory, staged
from tests.law.world import Broken, Setting, Step, World

# Steps by weight, with the numbers that each takes, exclusive.
STEPS: dict[str, tuple[int, tuple[int, ...]]] = {
    "run": (6, ()),
    "append": (4, (4,)),
    "append_same": (1, (20,)),
    "edit": (3, (20,)),
    "revert": (3, (20, 4)),
    "delete": (2, (20,)),
    "give_back": (2, (6, 20)),
    "move": (2, (20, 20)),
    "roll": (2, (4,)),
    "set_cap": (3, (7,)),
    "set_prices": (1, (4,)),
    "set_weather": (4, (11,)),
    "run_first": (2, (10,)),
    "retry": (3, (5,)),
    "kill": (5, (14, 8, 2, 6, 3)),
    "stop": (3, (14, 8, 2, 6, 3)),
}
# Numbers that begin at 1 where 0 would do nothing.
FROM_ONE = frozenset({"append", "roll", "run_first"})


def random_step(rng: random.Random) -> Step:
    name = rng.choices(list(STEPS), [weight for weight, _ in STEPS.values()])[0]
    return Step(name, tuple(rng.randrange(most) + (name in FROM_ONE) for most in STEPS[name][1]))


# Where outputs stand and who asks: a folder, a bucket, a bucket that two machines write in turn, a cluster's workers on a
# disk that all share, and those that share a bucket alone.
PLACES: dict[str, dict[str, Any]] = {
    "disk": {},
    "bucket": {"bucket": True},
    "machines": {"bucket": True, "machines": 2},
    "cluster": {"cluster": True},
    "apart": {"cluster": True, "bucket": True},
}


def random_setting(rng: random.Random, place: str = "disk") -> Setting:
    return Setting(
        labels=rng.random() < 0.35,
        with_id=rng.random() < 0.5,
        stream=rng.random() < 0.3,
        flash=rng.random() < 0.4,
        concurrency=rng.choice((1, 3, 8)),
        content=rng.choice((0, 2, 5)),
        seed=rng.randrange(1_000),
        packed=rng.choice((1, 1, 4)),
        shard=rng.choice((0, 3, 5)),
        **PLACES[place],
    )


def walk(
    stage: Stage, setting: Setting, steps: Sequence[Step], beyond: Collection[str] = ()
) -> tuple[str, str, int] | None:
    """Walk; the kind of what broke, all about it, and after how many steps. None where the law held.

    What is known to be broken may stand in `beyond`: the walk goes on over it.
    """
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        world = World(Path(folder), stage, setting)
        for step in steps:
            try:
                world.do(step)
            except (Broken, runs.Hung) as error:
                if error.kind not in beyond:
                    return error.kind, f"{error}\n{world.told()}", len(world.walk)
    return None


def shrunk(
    stage: Stage,
    setting: Setting,
    steps: Sequence[Step],
    kind: str,
    seconds: float,
    beyond: Collection[str] = (),
) -> list[Step]:
    """A shorter walk that breaks the same law: steps are left out one after the other, as long as time allows."""
    left, until = list(steps), time.monotonic() + seconds
    at = len(left) - 2
    while at >= 0 and time.monotonic() < until:
        tried = [*left[:at], *left[at + 1 :]]
        found = walk(stage, setting, tried, beyond)
        if found is not None and found[0] == kind:
            left = tried[: found[2]]
        at = min(at, len(left)) - 1
    return left


def script(setting: Setting, steps: Sequence[Step]) -> str:
    """What --replay reads."""
    told = " ".join(f"{name}={value}" for name, value in asdict(setting).items())
    return "\n".join([f"setting {told}", *map(str, steps)]) + "\n"


def read_script(text: str) -> tuple[Setting, list[Step]]:
    first, *lines = [line.strip() for line in text.splitlines() if line.strip()]
    values: dict[str, Any] = {name: _number(value) for name, value in re.findall(r"(\w+)=(\w+)", first)}
    steps = []
    for line in lines:
        name, *numbers = line.split()
        steps.append(Step(name, tuple(map(int, numbers))))
    return Setting(**values), steps


def _number(text: str) -> int | bool:
    return text == "True" if text in ("True", "False") else int(text)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20, help="steps of one walk")
    parser.add_argument(
        "--shrink", type=float, default=15, metavar="S", help="seconds to shorten each kind's first walk"
    )
    parser.add_argument(
        "--beyond", action="append", default=[], metavar="KIND", help="walk on where this law is broken"
    )
    parser.add_argument("--place", choices=list(PLACES), default="disk", help="where outputs stand and who asks")
    parser.add_argument("--packed", action="store_true", help="only walks in which rows share calls")
    parser.add_argument("--labels", choices=("yes", "no"), help="only walks of this kind")
    parser.add_argument("--replay", metavar="FILE", help="walk a printed script again")
    args = parser.parse_args(argv)
    with staged() as stage:
        if args.replay:
            setting, steps = read_script(Path(args.replay).read_text())
            found = walk(stage, setting, steps, args.beyond)
            print(found[1] if found else "the law held")
            return int(found is not None)
        return _many(args, stage)


def _many(args: argparse.Namespace, stage: Stage) -> int:
    kinds: Counter[str] = Counter()
    taken, began = 0, time.monotonic()
    for number in range(args.sequences):
        rng = random.Random(f"{args.seed} {number}")
        setting = random_setting(rng, args.place)
        steps = [random_step(rng) for _ in range(args.steps)]
        if args.labels is not None and setting.labels != (args.labels == "yes"):
            continue
        if args.packed and setting.packed == 1:
            continue
        found = walk(stage, setting, steps, args.beyond)
        taken += found[2] if found else len(steps)
        if found is None:
            continue
        kind, about, _ = found
        kinds[kind] += 1
        print(f"--- sequence {number} of seed {args.seed}: {about.splitlines()[0]}", flush=True)
        if kinds[kind] == 1:
            short = shrunk(stage, setting, steps[: found[2]], kind, args.shrink, args.beyond)
            again = walk(stage, setting, short, args.beyond)
            print(again[1] if again else f"(not seen again)\n{about}")
            print("replay:\n" + script(setting, short), flush=True)
    seconds = time.monotonic() - began
    print(f"{taken} steps in {seconds:.0f} s; broken: {dict(kinds.most_common()) or 'nothing'}", file=sys.stderr)
    return int(bool(kinds))


if __name__ == "__main__":
    sys.exit(main())
