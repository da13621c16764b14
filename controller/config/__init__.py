"""Configuration: file and environment become frozen settings."""
