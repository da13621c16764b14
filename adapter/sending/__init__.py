"""One send from call to result: key, gate, mailbox place, token, post, metrics."""
