"""CPU and memory of a router per request and per streamed chunk, side by side with its peers."""
