"""Sign-in with Microsoft: one tenant of Entra ID, asked through MSAL."""
