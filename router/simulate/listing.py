"""What there is to choose from."""

import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from router.routing.peers import HELD, PEERS
from router.routing.policies import OWN
from router.simulate.generators import GENERATORS
from router.simulate.hardware import PRESETS, Hardware

_WIDTH = 100
_PREFIX = (
    "Lowest predicted time to first token, and least harm to others; a request waits in the router until the best "
    "worker has room."
)


def listing() -> str:
    """Generators, policies and hardware with a line on each."""
    sections = {
        "Generators (or a file)": {name: _summary(make) for name, make in GENERATORS.items()},
        "Policies": {"prefix": _PREFIX, **{name: _summary(policy) for name, policy in OWN.items()}},
        "Policies after other projects": {
            name: _summary(policy) for name, policy in {**PEERS, **HELD}.items()
        },
        "Hardware": {name: _constants(preset) for name, preset in PRESETS.items()},
    }
    return "\n\n".join("\n".join([f"{t}:", *_rows(entries)]) for t, entries in sections.items())


def _rows(entries: dict[str, str]) -> Iterator[str]:
    width = max(map(len, entries)) + 4
    for name, text in entries.items():
        yield textwrap.fill(
            text, _WIDTH, initial_indent=f"  {name:{width - 2}}", subsequent_indent=" " * width
        )


def _summary(thing: Callable[..., Any]) -> str:
    """The first paragraph of its docstring."""
    paragraph, _, _ = (thing.__doc__ or "").partition("\n\n")
    return " ".join(paragraph.split())


def _constants(preset: Hardware) -> str:
    return (
        f"{preset.kv_tokens:,} tokens of KV cache, {preset.budget:,} tokens and {preset.max_seqs:,} requests per step; "
        f"objectives {preset.slo_ttft_s:g} s to first token, {1e3 * preset.slo_itl_s:g} ms per token"
    )
