"""POST /tokenize and /detokenize."""

from router.simworker.chat import checked_messages, rendered
from router.simworker.fields import pick_model, require
from router.simworker.http import Reply, Request
from router.simworker.tokens import decode, encode, token_text
from router.simworker.worker import Worker


async def tokenize(worker: Worker, request: Request, reply: Reply) -> None:
    """Token ids of a prompt or of a conversation."""
    body = request.json()
    model = pick_model(worker.config, body)
    if "messages" in body:
        text = rendered(body, checked_messages(body["messages"], model), body.get("tools") or [])
    else:
        text = str(require(body, "prompt"))
    tokens = encode(text)
    strings = [token_text(token) for token in tokens] if body.get("return_token_strs") else None
    limit = worker.config.context_limit
    await reply.json(
        {"count": len(tokens), "max_model_len": limit, "tokens": tokens, "token_strs": strings}
    )


async def detokenize(worker: Worker, request: Request, reply: Reply) -> None:
    """Text of token ids."""
    body = request.json()
    pick_model(worker.config, body)
    await reply.json({"prompt": decode(require(body, "tokens"))})
