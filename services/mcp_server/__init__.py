"""Tools for models, over plain HTTP and JSON."""
