"""A local Graph, a local sign-in server and a sample sender, for the demo and the tests."""
