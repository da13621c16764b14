"""Mails that go by a draft: written, given their files, sent, and looked for where in doubt."""
