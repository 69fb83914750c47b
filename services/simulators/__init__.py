"""Stand-ins for what is outside: four LLM providers and Airtable, in one server."""
