"""One send from call to result: gate, key, mailbox place, token, post, metrics."""
