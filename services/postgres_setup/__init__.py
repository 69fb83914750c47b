"""What only the owner of the database does: the roles of the services, and the audit log that they cannot change."""
