#!/usr/bin/env python3
"""Builds the models the workers serve: real Qwen3 architecture and tokenizer, random weights.

usage: make_model.py OUT_DIR      writes OUT_DIR/tiny, OUT_DIR/small and OUT_DIR/tiny-{alpha,beta}; run by setup.sh

Nothing is downloaded. The tokenizer is a byte-level BPE trained on Python's own library, so its
token ids depend on the Python version; the weights are seeded. What a model says is noise, how
vLLM batches, caches and streams it is real.
"""

import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, Qwen3Config

VOCAB = 4096
TRAINING_BYTES = 4_000_000
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PAD_ID, END_OF_TURN_ID = 0, 2
# Layers and hidden size. tiny answers at once; small takes ~0.3 s for 1,000 new tokens on one core,
# so that a prefix hit shows.
MODELS = {"tiny": (2, 64), "small": (8, 512)}
HEAD_DIM = 32
ADAPTED = "tiny"
ADAPTERS = ["alpha", "beta"]
LORA_RANK = 8

CHAT_TEMPLATE = """\
{%- macro text(content) -%}
  {%- if content is string -%}{{ content }}
  {%- elif content -%}
    {%- for part in content if part.type == 'text' -%}{{ part.text }}{%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- if tools -%}
  {{- '<|im_start|>system\\n# Tools\\n' -}}
  {%- for tool in tools -%}{{ tool | tojson + '\\n' }}{%- endfor -%}
  {{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
  {{- '<|im_start|>' + message.role + '\\n' + text(message.content) -}}
  {%- for call in message.tool_calls or [] -%}
    {{- '<tool_call>' + call.function | tojson + '</tool_call>' -}}
  {%- endfor -%}
  {{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""


def training_texts() -> Iterator[str]:
    """Yield source texts of this Python's library, about TRAINING_BYTES of them, in a fixed order."""
    left = TRAINING_BYTES
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if left <= 0:
            return
        if "site-packages" not in path.parts and path.stat().st_size < 400_000:
            text = path.read_text(encoding="utf-8", errors="ignore")
            left -= len(text)
            yield text


def write_tokenizer(out: Path) -> None:
    """Train and write the tokenizer with its chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_texts(), trainer)
    tokenizer.save(str(out / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 1_000_000,
        "eos_token": SPECIAL[END_OF_TURN_ID],
        "pad_token": SPECIAL[PAD_ID],
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=1))


def write_weights(out: Path, layers: int, hidden: int) -> None:
    """Write the configuration and seeded random weights."""
    config = Qwen3Config(
        architectures=["Qwen3ForCausalLM"],
        vocab_size=VOCAB,
        hidden_size=hidden,
        intermediate_size=hidden * 2,
        num_hidden_layers=layers,
        num_attention_heads=hidden // HEAD_DIM,
        num_key_value_heads=1,
        head_dim=HEAD_DIM,
        max_position_embeddings=32768,
        tie_word_embeddings=False,
        dtype="bfloat16",
        bos_token_id=PAD_ID,
        eos_token_id=END_OF_TURN_ID,
        pad_token_id=PAD_ID,
    )
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    model.save_pretrained(out)


def write_adapter(out: Path, layers: int, hidden: int, seed: int) -> None:
    """Write a LoRA adapter with seeded random weights, for a model of this size."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    sizes = {"q_proj": hidden, "v_proj": HEAD_DIM}  # v: there is one key-value head
    weights = {}
    for layer in range(layers):
        for module, size in sizes.items():
            name = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            for part, shape in (("lora_A", (LORA_RANK, hidden)), ("lora_B", (size, LORA_RANK))):
                weights[f"{name}.{part}.weight"] = torch.randn(shape, dtype=torch.bfloat16) * 0.1
    save_file(weights, out / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": LORA_RANK,
        "lora_alpha": 16,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(sizes),
        "base_model_name_or_path": ADAPTED,
    }
    (out / "adapter_config.json").write_text(json.dumps(config, indent=1))


def main() -> None:
    """Build every model under the folder given on the command line."""
    for name, (layers, hidden) in MODELS.items():
        out = Path(sys.argv[1]) / name
        out.mkdir(parents=True, exist_ok=True)
        write_tokenizer(out)
        write_weights(out, layers, hidden)
    for seed, name in enumerate(ADAPTERS):
        write_adapter(Path(sys.argv[1]) / f"{ADAPTED}-{name}", *MODELS[ADAPTED], seed)


if __name__ == "__main__":
    main()
