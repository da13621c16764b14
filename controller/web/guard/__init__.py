"""What stands before every route: connections, hosts, rates, and the time that a request may take."""
