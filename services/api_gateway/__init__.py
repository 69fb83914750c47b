"""The one way in for clients: routes to the services, limits rates, checks webhook signatures."""
