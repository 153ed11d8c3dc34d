"""`prefix-router size`: what a model needs of GPUs, before there are any."""
