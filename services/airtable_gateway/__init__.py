"""The one way to Airtable: knows its rate limit, waits once when throttled."""
