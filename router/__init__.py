"""prefix-router: a prefix-aware, OpenAI-compatible request router for fleets of vLLM workers."""
