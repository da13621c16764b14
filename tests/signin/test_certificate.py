"""Signing in with a certificate instead of a secret: the app signs, and the sign-in server checks it."""

from pathlib import Path

import pytest
from kit.certificates import CURVE, KEY, OTHER, PUBLIC, certificate, pem
from kit.signin import Browser, link_user
from prometheus_client import CollectorRegistry

from adapter.sandbox.signin import SandboxSignIn
from adapter.settings import SettingsError
from adapter.signin.errors import SignInError
from adapter.signin.microsoft.certificate import read_certificate
from adapter.signin.microsoft.manager import MicrosoftTokenManager
from adapter.signin.microsoft.settings import MicrosoftSettings


async def test_a_mailbox_is_linked_and_refreshed_without_any_secret(
    env: dict[str, str], sandbox: SandboxSignIn, pages: list[str], tmp_path: Path
) -> None:
    sandbox.issuer.app.certificate = PUBLIC
    file = tmp_path / "app.pem"
    file.write_text(pem(KEY) + PUBLIC)
    without = {name: text for name, text in env.items() if name != "MS_CLIENT_SECRET"}
    settings = MicrosoftSettings.from_environment({**without, "MS_CLIENT_CERTIFICATE_FILE": str(file)})
    async with (
        MicrosoftTokenManager(settings, registry=CollectorRegistry()) as manager,
        Browser(manager, sandbox.ca_file, pages) as browser,
    ):
        await link_user(browser, manager, "user-1")
        assert sandbox.issuer.accepts(await manager.refresh_access_token("user-1"))
        sandbox.issuer.app.certificate = certificate(OTHER)
        with pytest.raises(SignInError) as refused:
            await manager.refresh_access_token("user-1")
    assert refused.value.code == "MS_AUTH_CLIENT_CONFIG"
    assert "PRIVATE" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "both as PEM"),
        (PUBLIC, "both as PEM"),
        (pem(KEY), "both as PEM"),
        (PUBLIC + pem(OTHER), "belongs to another certificate"),
        (PUBLIC + pem(KEY, b"pass"), "without a passphrase"),
        (PUBLIC.replace("M", "N", 3) + pem(KEY), "cannot be read"),
        (certificate(CURVE) + pem(CURVE), "RSA"),
        (certificate(KEY, days=-1) + pem(KEY), "expired on"),
    ],
)
def test_what_is_no_certificate_with_its_key_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        read_certificate(text)
    assert "PRIVATE KEY--" not in str(refused.value)


def test_secret_and_certificate_are_not_both_taken_and_not_both_left_out(
    env: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "app.pem"
    file.write_text(PUBLIC + pem(KEY))
    with pytest.raises(SettingsError, match="keep one"):
        MicrosoftSettings.from_environment({**env, "MS_CLIENT_CERTIFICATE_FILE": str(file)})
    with pytest.raises(SettingsError, match="MS_CLIENT_SECRET is not set"):
        MicrosoftSettings.from_environment({**env, "MS_CLIENT_SECRET": ""})
