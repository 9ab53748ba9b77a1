"""Configuration: components that are built from tables, what they refuse, and their JSON schema."""
