"""What a user may set of waiting."""

import msgspec


class QueueOptions(msgspec.Struct, frozen=True):
    """`room_tokens`: uncached prompt tokens that a worker is sent at a time, best its `max_num_batched_tokens`;
    `max_inflight`: its `max_num_seqs`. `limit`, `timeout_s`: who waits beyond is turned away. `patience_s`: who
    waits longer is helped along by a small share of the workers' time.
    """

    room_tokens: float = 8192.0
    max_inflight: int = 1024
    limit: int = 10_000
    timeout_s: float = 120.0
    patience_s: float = 60.0
