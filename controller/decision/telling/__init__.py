"""A decision and where a feature is, told in words for people. Pure."""
