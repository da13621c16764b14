"""What the sandbox's sign-in server has of Entra: tenants, and the ways in which an app proves itself."""
