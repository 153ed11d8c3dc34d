"""Random text that tokenizes like text."""

import random

_LEXICON = """
able about account after again agent answer argue article balance because before begin between board
budget build cache carry centre change choose city claim clear client close common company compare
condition consider contract control country course cover customer deal decide delay depend describe
detail develop difference document during early effect either engine enough even evidence example
explain fact family figure final follow force form found general give government great group happen
heavy history house however idea important increase interest issue keep language large later letter
level limit local longer machine market matter measure member method minute model money month morning
nature never night notice number offer office often order other paper part pattern people
"""
_WORDS = _LEXICON.split()
_FUNCTION = (
    'def handle_{0}(self, request):\n    if request.kind == "{0}":\n        return self.{1}({2})\n'
)


def prose(rng: random.Random, words: int) -> str:
    """One long sentence of this many words."""
    return " ".join(rng.choices(_WORDS, k=words)).capitalize() + "."


def code(rng: random.Random, functions: int) -> str:
    """Python source, three lines a function."""
    names = (rng.choices(_WORDS, k=2) for _ in range(functions))
    return "".join(_FUNCTION.format(*pair, rng.randrange(1000)) for pair in names)
