"""`prefix-router explain`: asks a running router where a prompt would go, and why."""
