"""Whose accounts people can sign in with: a new one is a line here and in `adapter/web/signin_routes.py`."""

from adapter.signin.google.errors import GOOGLE
from adapter.signin.microsoft.errors import MICROSOFT

IDENTITIES = (MICROSOFT, GOOGLE)
