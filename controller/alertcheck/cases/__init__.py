"""What is fed into the rules, and what must come out."""
