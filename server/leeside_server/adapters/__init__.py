"""What keeps the promises of the ports: SQLite and files for one machine, PostgreSQL and Redis for many."""
