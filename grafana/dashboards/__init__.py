"""Dashboards as code: a file that has a ``UID`` and a ``build`` is a dashboard; ``panels`` is what they share."""
