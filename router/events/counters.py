"""What happened to a worker's events."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Counts since the start.

    Batches that were applied, and what was in them: blocks `stored` and `removed`, times that all was `cleared`.
    What could not be used of it: `unknown` events are of no known type or malformed, `sparse` ones belong to layers
    that see only part of a prompt, `nameless` stores do not tell their tokens; `orphans` are blocks behind one that was
    never announced, `refused` ones were too many to remember. Messages that were not applied: `unreadable` ones are no
    batch, `duplicates` had been applied before, `dropped` ones found the inbox full.

    `gaps` were seen, `replays` asked for. Two things made all that was known void: `restarts`, when numbers began
    anew, and `resyncs`, when what was missed could not be had again. `lag_s` is the age of the last batch when it was
    applied, by the two machines' clocks.
    """

    batches: int = 0
    stored: int = 0
    removed: int = 0
    cleared: int = 0
    unknown: int = 0
    sparse: int = 0
    nameless: int = 0
    orphans: int = 0
    refused: int = 0
    unreadable: int = 0
    duplicates: int = 0
    dropped: int = 0
    gaps: int = 0
    replays: int = 0
    restarts: int = 0
    resyncs: int = 0
    lag_s: float = 0.0
