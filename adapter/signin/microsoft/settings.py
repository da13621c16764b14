"""The settings of signing in with Microsoft, each bad value refused by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from adapter.checks.app_mailboxes import AppMailboxes
from adapter.settings import LARGE_ATTACHMENTS, SettingsError, app_mailboxes
from adapter.signin.microsoft.certificate import ClientCertificate, read_certificate
from adapter.signin.settings import SignInSettings, common, needed
from controller.shared.environment import Environment
from controller.shared.microsoft_cloud import GLOBAL, MicrosoftCloud, cloud_reader
from controller.shared.value_readers import Reader, existing_file, flag, split, text

MULTI_TENANT = frozenset({"common", "organizations"})
"""Values of MS_TENANT_ID with which people of several tenants sign in."""
DELEGATED, APP = "delegated", "app"
IDENTITIES_AT = "api://AzureADTokenExchange"
"""For whom a token is that proves who an app is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MicrosoftSettings(SignInSettings):
    """What signing in with Microsoft needs to know."""

    tenant_id: str
    """MS_TENANT_ID: one tenant, as a GUID or a domain; `organizations` or `common` for several."""
    mode: str = DELEGATED
    """MS_AUTH_MODE: `delegated`, where each person signs in, or `app`, where the app itself does."""
    tenants: tuple[str, ...] = ()
    """MS_ALLOWED_TENANTS: of several tenants those that are let in, as GUIDs or domains, between commas."""
    mailboxes: AppMailboxes | None = None
    """MS_APP_MAILBOXES: with MS_AUTH_MODE=app, `USER=MAILBOX`, `MAILBOX` or `*@DOMAIN`, between commas."""
    certificate: ClientCertificate | None = None
    """MS_CLIENT_CERTIFICATE_FILE: PEM of a certificate and its private key, instead of the secret."""
    federated_token_file: str = ""
    """MS_FEDERATED_TOKEN_FILE: a token of another issuer, such as a Kubernetes service account's, instead."""
    managed_identity: str = ""
    """MS_MANAGED_IDENTITY: `system`, or the client id of an identity of this machine in Azure, instead."""
    cloud: MicrosoftCloud = GLOBAL
    """MS_CLOUD: `global`, `usgov`, `usgovdod` or `china`."""
    authority: str = ""
    """MS_AUTHORITY; Microsoft's own for the tenant unless given."""
    drafts: bool = False
    """MS_LARGE_ATTACHMENTS: people are asked for Mail.ReadWrite too, which drafts need."""

    def __post_init__(self) -> None:
        if self.mode == DELEGATED:
            SignInSettings.__post_init__(self)
        self._check_credential()
        self._check_tenants()

    def _check_tenants(self) -> None:
        """Raise SettingsError unless it is clear whose people sign in, and whose mailboxes send."""
        tenant = self.tenant_id.lower()
        if tenant == "consumers":
            raise SettingsError("MS_TENANT_ID=consumers: name a tenant, or organizations or common")
        if (tenant in MULTI_TENANT) != bool(self.tenants):
            raise SettingsError(
                f"MS_TENANT_ID={tenant} needs MS_ALLOWED_TENANTS: the tenants that are let in"
                if tenant in MULTI_TENANT
                else "MS_ALLOWED_TENANTS is only for MS_TENANT_ID=organizations or common"
            )

        ids = [one for one in self.mailboxes.listed if "@" not in one] if self.mailboxes else []
        if ids and tenant in MULTI_TENANT:
            raise SettingsError(
                f"MS_APP_MAILBOXES has {ids[0]}, which names no tenant: MS_TENANT_ID={tenant} needs addresses"
            )

    def _check_credential(self) -> None:
        """Raise SettingsError unless the app can prove in exactly one way who it is."""
        given = {
            "MS_CLIENT_SECRET": self.client_secret,
            "MS_CLIENT_CERTIFICATE_FILE": self.certificate,
            "MS_FEDERATED_TOKEN_FILE": self.federated_token_file,
            "MS_MANAGED_IDENTITY": self.managed_identity,
        }
        present = [name for name, value in given.items() if value]
        if not present:
            first, second, *others = given
            raise SettingsError(f"{first} is not set, and neither is {second} (nor {' or '.join(others)})")
        if len(present) > 1:
            raise SettingsError(f"{' and '.join(present[:2])} are both set: keep one")

    @property
    def scopes(self) -> tuple[str, ...]:
        """Return what people are asked for; MSAL adds openid, profile and offline_access itself."""
        drafts = (self.cloud.scope("Mail.ReadWrite"),) if self.drafts else ()
        return *self.scopes_of_refresh, *drafts

    @property
    def scopes_of_refresh(self) -> tuple[str, ...]:
        """Return what a refresh asks for: its token has all that was granted, so who granted less goes on."""
        return self.cloud.scope("Mail.Send"), "email"

    @property
    def is_multi_tenant(self) -> bool:
        """Whether people of several tenants sign in."""
        return self.tenant_id.lower() in MULTI_TENANT

    @property
    def sealed_as(self) -> str:
        """Return the cloud that tokens are for; nothing for the global one."""
        return "" if self.cloud is GLOBAL else f"{self.cloud.name} "

    @property
    def authority_url(self) -> str:
        """The authority with its tenant, as MSAL wants it."""
        base = (self.authority or self.cloud.sign_in).rstrip("/")
        return base if urlsplit(base).path else f"{base}/{self.tenant_id}"

    def authority_of(self, tenant: str) -> str:
        """Return the authority of one tenant, by its id or a domain of it; of the configured one for none."""
        return f"{self.authority_url.rpartition('/')[0]}/{quote(tenant)}" if tenant else self.authority_url

    @property
    def sign_in_url(self) -> str:
        """Return an address of the server whose pages a person sees."""
        return self.authority_url

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "MicrosoftSettings":
        """Read the settings; raises SettingsError with the name of the first that is missing or bad."""
        env = Environment(environment)
        env.refuse_misspelt()
        cloud = env.read("MS_CLOUD", cloud_reader, GLOBAL)
        mailboxes = app_mailboxes(env)
        return cls(
            client_id=needed(env, "MS_CLIENT_ID"),
            client_secret=env.read("MS_CLIENT_SECRET", text(), ""),
            certificate=env.read("MS_CLIENT_CERTIFICATE", _CERTIFICATE, None),
            federated_token_file=env.read("MS_FEDERATED_TOKEN_FILE", existing_file, ""),
            managed_identity=env.text("MS_MANAGED_IDENTITY"),
            tenant_id=needed(env, "MS_TENANT_ID"),
            tenants=tuple(one.lower() for one in split(env.text("MS_ALLOWED_TENANTS"))),
            mode=APP if mailboxes else DELEGATED,
            mailboxes=mailboxes,
            cloud=cloud,
            authority=env.read("MS_AUTHORITY", cloud.authority, ""),
            drafts=env.read(LARGE_ATTACHMENTS, flag, default=False),
            **common(env, "microsoft"),
        )


_CERTIFICATE: Reader[ClientCertificate | None] = Reader(read_certificate)
