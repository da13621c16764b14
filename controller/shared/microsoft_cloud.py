"""Microsoft's clouds: each has its own sign-in server, its own Graph and its own mail servers."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from controller.shared.value_readers import Reader, http_url, https_url, one_of


@dataclass(frozen=True, slots=True)
class MicrosoftCloud:
    """The addresses of one cloud."""

    name: str
    """As MS_CLOUD has it."""
    sign_in: str
    graph: str
    """Without the version; also the resource that scopes name."""
    spf: str
    """What the SPF record of a domain includes that sends from here."""

    def scope(self, permission: str) -> str:
        """Return a permission of this cloud's Graph; the global one needs no address before it."""
        return permission if self is GLOBAL else f"{self.graph}/{permission}"

    def refuse_other(self, url: str) -> str:
        """Return a URL; raises ValueError where it is another cloud's."""
        host = urlsplit(url).hostname
        ours = {urlsplit(self.sign_in).hostname, urlsplit(self.graph).hostname}
        others = [
            cloud.name
            for cloud in CLOUDS.values()
            if host not in ours and host in {urlsplit(cloud.sign_in).hostname, urlsplit(cloud.graph).hostname}
        ]
        if others:
            raise ValueError(f"belongs to MS_CLOUD={others[0]}, and MS_CLOUD is {self.name}; change one")
        return url

    @property
    def graph_url(self) -> Reader[str]:
        """Return a reader of addresses of Graph that refuses another cloud's."""
        return Reader(lambda value: self.refuse_other(http_url(value)))

    @property
    def authority(self) -> Reader[str]:
        """Return a reader of addresses of a sign-in server that refuses another cloud's."""
        return Reader(lambda value: self.refuse_other(https_url(value)))


GLOBAL = MicrosoftCloud(
    "global",
    "https://login.microsoftonline.com",
    "https://graph.microsoft.com",
    "spf.protection.outlook.com",
)
CLOUDS = {
    cloud.name: cloud
    for cloud in (
        GLOBAL,
        MicrosoftCloud(
            "usgov",
            "https://login.microsoftonline.us",
            "https://graph.microsoft.us",
            "spf.protection.office365.us",
        ),
        MicrosoftCloud(
            "usgovdod",
            "https://login.microsoftonline.us",
            "https://dod-graph.microsoft.us",
            "spf.protection.office365.us",
        ),
        MicrosoftCloud(
            "china",
            "https://login.partner.microsoftonline.cn",
            "https://microsoftgraph.chinacloudapi.cn",
            "spf.protection.partner.outlook.cn",
        ),
    )
}
cloud_reader = Reader(lambda value: CLOUDS[one_of(*CLOUDS)(value)])
"""Reads MS_CLOUD."""
