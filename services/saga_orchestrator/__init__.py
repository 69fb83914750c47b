"""Orders and refunds as sagas: steps in other services, undone in reverse where one fails."""
