"""A simulated vLLM worker: real HTTP and SSE in front of a model of vLLM's engine, no GPU.

It stands alone: nothing of the router is imported here, so that both can be judged by each other.
"""
