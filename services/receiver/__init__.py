"""Keeps and shows the alert notifications that Alertmanager sends."""
