"""What a simulated worker is told at its start."""

from dataclasses import dataclass

VLLM_VERSION = "0.32.0"
FINGERPRINT = f"vllm-{VLLM_VERSION}-sim"


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """One worker. Times are in seconds before `time_scale`, which multiplies all of them.

    `models[0]` is the base model, the others are served as LoRA adapters of it. `kv_events_port` 0
    publishes no cache events; every data-parallel rank has a port of its own from there on, and behind those one for
    its replays. All else is what one rank has. Raises ValueError if the cache is too small for anything.
    """

    models: tuple[str, ...] = ("sim-model",)
    kv_tokens: int = 65536
    block_size: int = 16
    prefill_tokens_per_s: float = 4000.0
    itl_s: float = 0.010
    max_num_seqs: int = 64
    max_num_batched_tokens: int = 8192
    max_num_queued_reqs: int = 0
    max_model_len: int = 131072
    api_key: str | None = None
    time_scale: float = 1.0
    data_parallel_size: int = 1
    kv_events_port: int = 0
    host: str = "127.0.0.1"
    port: int = 8001

    def __post_init__(self) -> None:
        if self.num_blocks < 2:
            raise ValueError(f"kv_tokens must hold two blocks of {self.block_size} tokens at least")

    @property
    def num_blocks(self) -> int:
        """Blocks in the pool, vLLM's null block included."""
        return self.kv_tokens // self.block_size

    @property
    def context_limit(self) -> int:
        """Longest prompt with its output: what the model allows and the pool can hold."""
        return min(self.max_model_len, (self.num_blocks - 1) * self.block_size)

    @property
    def events_topic(self) -> str:
        """Topic of the cache events, as deployments of vLLM name it."""
        return f"kv@{self.host}:{self.port}@{self.models[0]}"
