"""The web page, what browsers report about it, and the way from the page to the gateway."""
