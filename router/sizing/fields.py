"""A Hugging Face config.json as its fields: names differ between families (pure)."""

from collections.abc import Mapping
from typing import Any

_NESTED = ("text_config", "llm_config", "language_config")
"""Where multimodal models keep what their language model is."""

_ALIASES = {
    "hidden_size": ("n_embd", "d_model"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "num_attention_heads": ("n_head", "n_heads"),
    "num_key_value_heads": ("num_kv_heads", "multi_query_group_num"),
    "head_dim": ("attention_head_dim",),
    "intermediate_size": ("n_inner", "ffn_dim", "ffn_hidden_size"),
    "max_position_embeddings": ("n_positions", "max_seq_len", "seq_length", "model_max_length"),
    "mamba_num_heads": ("mamba_n_heads",),
    "mamba_head_dim": ("mamba_d_head",),
    "ssm_state_size": ("mamba_d_state",),
    "n_groups": ("mamba_n_groups",),
    "conv_kernel": ("mamba_d_conv",),
    "shared_expert_intermediate_size": (
        "shared_intermediate_size",
        "moe_shared_expert_intermediate_size",
    ),
    "num_experts": ("num_local_experts", "n_routed_experts", "moe_num_experts"),
    "num_experts_per_tok": (
        "num_experts_per_token",
        "moe_top_k",
        "experts_per_token",
        "top_k_experts",
        "moe_k",
    ),
    "n_shared_experts": ("num_shared_experts", "moe_num_shared_experts"),
}

_DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma3_text": {
        "vocab_size": 262_208,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
        "max_position_embeddings": 131_072,
    },
    "gemma2": {"head_dim": 256, "sliding_window": 4096},
}
"""What published configs leave to transformers' own defaults."""


_MOST = 10**12


def shown(value: Any) -> str:
    """A value of the file's in a message: on one line, not too long, and of printable characters."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


class ConfigError(ValueError):
    """The file is no model configuration that can be sized; the message names the field."""


class Fields:
    """The language model's fields. Each default that is taken is kept in `assumed`, in words."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._outer = config
        self._inner = next(
            (config[name] for name in _NESTED if isinstance(config.get(name), dict)), config
        )
        self.kind = str(self._inner.get("model_type") or config.get("model_type") or "unknown")
        self.assumed: list[str] = []
        self._read: set[str] = set()

    def get(self, name: str) -> Any:
        """The field, under any of its names; None where it is missing or null."""
        self._read.update((name, *_ALIASES.get(name, ())))
        for source in (self._inner, self._outer):
            for alias in (name, *_ALIASES.get(name, ())):
                if source.get(alias) is not None:
                    return source[alias]
        default = _DEFAULTS.get(self.kind, {}).get(name)
        if default is not None:
            self.assume(f"{name} is {default:,}: transformers' default for {self.kind}")
        return default

    def unread(self) -> list[str]:
        """Fields of the language model that nobody asked for."""
        return [shown(name).strip("'") for name in self._inner if name not in self._read]

    def number(self, name: str, default: int | None = None) -> int:
        """A whole number, at least 0. Without a default the field must be there."""
        value = self.get(name)
        if value is None:
            if default is None:
                raise ConfigError(f"`{name}` is missing; it cannot be sized without")
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConfigError(f"`{name}` is {shown(value)}, not a whole number")
        if value > _MOST:
            raise ConfigError(f"`{name}` is larger than any model's")
        return value

    def positive(self, name: str, default: int | None = None) -> int:
        """A whole number of which there must be at least 1."""
        value = self.number(name, default)
        if not value:
            raise ConfigError(f"`{name}` is 0")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """A yes or no."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ConfigError(f"`{name}` is {shown(value)}, not true or false")
        return value

    def listed(self, name: str) -> list[Any]:
        """A list; empty where it is missing."""
        value = self.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise ConfigError(f"`{name}` is {shown(value)}, not a list")
        return value

    def table(self, name: str) -> Mapping[str, Any]:
        """A table; empty where it is missing."""
        value = self.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise ConfigError(f"`{name}` is {shown(value)}, not a table")
        return value

    def assume(self, what: str) -> None:
        """Tell the reader that the file does not say this."""
        if what not in self.assumed:
            self.assumed.append(what)
