"""Journeys of pretended users through the frontend, a few requests a second, a few of them meant to fail."""
