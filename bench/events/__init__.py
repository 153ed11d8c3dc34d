"""What following workers' KV events costs."""
