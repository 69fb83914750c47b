"""Finds services that were started later by their labels, and keeps them as targets until it is told to forget them."""
