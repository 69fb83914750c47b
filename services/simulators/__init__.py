"""Stand-ins for what is outside: an LLM provider and Airtable, in one server."""
