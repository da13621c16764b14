"""What the evidence is worth: the tests of both forms, outages, live counts, policies."""
