"""Chats with LLM providers: picks the provider of a model, uses tools, counts tokens and cost."""
