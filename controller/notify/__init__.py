"""Who is notified of which decision, in which words, and how it is delivered."""
