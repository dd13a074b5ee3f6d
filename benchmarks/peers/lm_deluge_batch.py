"""Peer: lm-deluge's process_prompts_sync, its own limits set out of the way."""

import json
import os
import sys

from lm_deluge import LLMClient
from lm_deluge.models import register_model

port, rows, concurrency = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.environ["PEER_KEY"] = "sk-x"
register_model(
    id="gemini-3-pro", name="gemini-3-pro", api_base=f"http://127.0.0.1:{port}/v1", api_key_env_var="PEER_KEY"
)
client = LLMClient(
    "gemini-3-pro", max_requests_per_minute=10_000_000, max_tokens_per_minute=10_000_000_000,
    max_concurrent_requests=concurrency, progress="manual",
)  # fmt: skip
with open(rows) as file:
    told = client.process_prompts_sync([json.loads(line)["text"] for line in file], show_progress=False)
assert all(one is not None and one.completion for one in told)
