"""What a request asks for and what the engine's cache will key on."""
