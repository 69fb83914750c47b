"""The one way to Airtable: keeps below its rate limit, waits for it, writes in batches."""
