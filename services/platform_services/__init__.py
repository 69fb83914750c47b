"""Users, sessions and payments."""
