"""Inputs that are wrong, each with its exit code and with words of the line that says what to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class WrongInput:
    """A command line that is refused. `files` are written before, where the command runs."""

    words: tuple[str, ...]
    says: str
    code: int = 2
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


TRIED_MAIL = "send --user ann --to bob@corp.example --subject x --dry-run"


def line(text: str, says: str, code: int = 2) -> WrongInput:
    return WrongInput(tuple(text.split(" ")), says, code)


def variable(name: str, value: str, says: str, words: str = "config check") -> WrongInput:
    return WrongInput(tuple(words.split(" ")), says, env={name: value})


def signed_in(name: str, value: str, says: str) -> WrongInput:
    """A mistake in one of the variables that signing in needs."""
    right = {
        "MS_CLIENT_ID": "00000000-0000-0000-0000-000000000001",
        "MS_CLIENT_SECRET": "secret",
        "MS_TENANT_ID": "00000000-0000-0000-0000-000000000002",
        "MS_REDIRECT_URI": "http://127.0.0.1:8003/oauth/microsoft/callback",
        "ROLLOUT_TOKEN_KEYS": "qVd3GZpDSRhVA4kCe3eWNn0K4D0nJ6OOVX4Rz4i5e2c=",
    }
    return WrongInput(("auth", "status", "ann"), says, env={**right, name: value})


def setting(toml: str | bytes, says: str) -> WrongInput:
    body = toml if isinstance(toml, bytes) else toml.encode()
    return WrongInput(("config", "check", "--config", "rollout.toml"), says, files={"rollout.toml": body})


def in_feature(entry: str, says: str) -> WrongInput:
    """A mistake in one line of an otherwise right feature."""
    name = entry.partition(" ")[0]
    lines = {
        "provider": 'provider = "microsoft"',
        "action": 'action = "outlook.send"',
        "slo_error_rate_threshold": "slo_error_rate_threshold = 0.01",
        "slo_latency_p95_ms": "slo_latency_p95_ms = 500",
        "steps": "steps = [1, 5, 100]",
    }
    lines[name] = entry
    return setting("[features.microsoft]\n" + "\n".join(lines.values()), says)


def trace(body: str, says: str) -> WrongInput:
    words = ("replay", "microsoft", "--trace", "trace.jsonl")
    return WrongInput(words, says, files={"trace.jsonl": body.encode()})


COMMAND_LINES = (
    line("stats", "did you mean status?"),
    line("Status", "did you mean status?"),
    line("puase microsoft", "did you mean pause?"),
    line("--verbose", "No such option"),
    line("--config rollout.toml status", "No such option"),
    line("status extra", "unexpected extra argument"),
    line("status --wacth", "--watch"),
    line("status --watch=yes", "does not take a value"),
    line("status --config", "requires an argument"),
    line("status --config nowhere.toml", "cannot be read"),
    line("status --config /", "is a directory"),
    line("status --server here", "http://127.0.0.1:8003"),
    line("status --server http://", "http://127.0.0.1:8003"),
    line("status --server http://[x", "http://127.0.0.1:8003"),
    line("status --server http://127.0.0.1:x", "http://127.0.0.1:8003"),
    line("status --server http://127.0.0.1:99999", "http://127.0.0.1:8003"),
    line("status --server ftp://127.0.0.1", "http://127.0.0.1:8003"),
    line("status --server http://127.0.0.1:1", "check --server", 3),
    line("history", "Missing argument 'FEATURE'"),
    line("history microsfot", "did you mean microsoft?"),
    line("history MICROSOFT", "did you mean microsoft?"),
    line("history zzz", "google, microsoft"),
    line("history microsoft --since 7", "7d"),
    line("history microsoft --since -7d", "7d"),
    line("history microsoft --since 7y", "7d"),
    line("history microsoft --since 1e9d", "7d"),
    line("history microsoft --since", "requires an argument"),
    line("history microsoft google", "unexpected extra argument"),
    line("decide microsfot", "did you mean microsoft?"),
    line("pause", "Missing argument 'FEATURE'"),
    line("pause microsoft", "Missing option '--reason'"),
    line("pause --reason x", "Missing argument 'FEATURE'"),
    WrongInput(("pause", "microsoft", "--reason", ""), "say why"),
    WrongInput(("pause", "microsoft", "--reason", "  \t "), "say why"),
    WrongInput(("pause", "microsoft", "--reason", "a\nb"), "one line"),
    WrongInput(("pause", "microsoft", "--reason", "a\rb"), "one line"),
    WrongInput(("pause", "microsoft", "--reason", "x" * 501), "500"),
    line("pause microsoft --reason x --percent 5", "No such option"),
    line("pause microsoft --reason x --yes", "No such option"),
    line("resume microsoft", "Missing option '--reason'"),
    line("enable microsoft", "Missing option '--reason'"),
    line("disable microsoft", "Missing option '--reason'"),
    line("approve microsoft", "Missing option '--reason'"),
    line("set microsoft --reason x", "Missing argument 'PERCENT'"),
    line("set 10 microsoft --reason x", "0 to 100"),
    line("set microsoft 101 --reason x", "0 to 100"),
    line("set microsoft 100.001 --reason x", "0 to 100"),
    line("set microsoft 1e1 --reason x", "0 to 100"),
    line("set microsoft nan --reason x", "0 to 100"),
    line("set microsoft inf --reason x", "0 to 100"),
    line("set microsoft 0.0001 --reason x", "three decimals"),
    line("set microsoft 1,5 --reason x", "three decimals"),
    line("set microsoft ten --reason x", "0 to 100"),
    line("set microsoft ٣ --reason x", "0 to 100"),
    line("set microsoft -5 --reason x", "No such option"),
    WrongInput(("set", "microsoft", "", "--reason", "x"), "0 to 100"),
    line("gate microsoft", "Missing argument 'USER_ID'"),
    line("gate microsfot user-1", "did you mean microsoft?"),
    line("gate microsoft -", "standard input"),
    line("gate microsoft user-1 --recipient", "requires an argument"),
    line("plan", "Missing argument 'FEATURE'"),
    line("plan microsoft --rps -1", "not in the range"),
    line("plan microsoft --rps nan", "finite"),
    line("plan microsoft --rps inf", "range"),
    line("plan microsoft --rps five", "not a valid float"),
    line("plan microsoft --rps 1e300", "range"),
    line("simulate microsoft", "Missing option '--rps'"),
    line("simulate microsoft --rps 5", "Missing option '--error-rate'"),
    line("simulate microsoft --rps 5 --error-rate 1%", "not a valid float"),
    line("simulate microsoft --rps 5 --error-rate 2", "not in the range"),
    line("simulate microsoft --rps 5 --error-rate nan", "finite"),
    line("simulate microsoft --rps nan --error-rate 0.1", "finite"),
    line("simulate microsoft --rps 5 --error-rate 0.1 --ramps 0", "not in the range"),
    line("simulate microsoft --rps 5 --error-rate 0.1 --hours 0", "not in the range"),
    line("simulate microsoft --rps 5 --error-rate 0.1 --hours nan", "finite"),
    line("simulate microsoft --rps 5 --error-rate 0.1 --seed x", "not a valid integer"),
    line("replay microsoft", "--trace"),
    line("replay microsoft --trace nowhere.jsonl", "nowhere.jsonl"),
    line("replay microsoft --trace /", "is a directory"),
    line("replay microsoft --trace a --since 7d", "--since"),
    line("replay microsoft --since 7d --policy careful", "sequential"),
    line("replay microsoft --since 7d --prometheus http://[x", "http://127.0.0.1:8003"),
    line("explain", "Missing argument 'ID'"),
    line("explain microsoft-1 --journal nowhere.jsonl", "nowhere.jsonl"),
    line("explain microsoft-1 --journal /", "is a directory"),
    line("rules frobnicate", "No such command"),
    line("rules rendr", "render"),
    line("rules render --window-s 0", "not in the range"),
    line("rules render --window-s -1", "not in the range"),
    line("rules render --window-s nan", "finite"),
    line("rules render --window-s 30s", "not a valid float"),
    line("rules render --interval-s 0", "not in the range"),
    line("rules render --scrape-s 0", "not in the range"),
    line("rules render --window-s 5 --scrape-s 60", "scrape"),
    line("rules render --out /dev/null/rules", "--out"),
    line("rules check --rules nowhere", "--rules"),
    line("validate-alerts --rules nowhere", "--rules"),
    line("validate-alerts --prometheus ftp://x", "http://"),
    line("validate-alerts --backend thanos", "prometheus"),
    line("validate-alerts --evidence .", "--live"),
    line("auth unlink user", "link"),
    line("auth link", "Missing argument 'USER_ID'"),
    line("auth lnik user", "link"),
    line("auth link user --listen nowhere", "HOST:PORT"),
    line("send", "--user"),
    line("send --user ann --dry-run", "recipient", 1),
    line("send --user ann --to bob --text nowhere.txt", "nowhere.txt"),
    line("send --user ann --to bob@corp.example --attach nowhere.pdf", "nowhere.pdf"),
    line("send --user ann --to bob@corp.example --inline x", "CID=FILE"),
    line("send --user ann --to bob@corp.example --action gmial.send", "outlook.send"),
    line("send --user ann --to bob@corp.example --attach /dev/zero", "larger than"),
    line("send --user ann --to bob@corp.example --inline a=/dev/zero", "CID=FILE"),
    line("send --message nowhere.json", "nowhere.json"),
    line("config check extra", "unexpected extra argument"),
    line("config chekc", "check"),
    line("config check --config nowhere.toml", "cannot be read"),
    line("journal verfy", "verify"),
    line("journal verify microsfot", "did you mean microsoft?"),
    line("notify test nobody", "notify"),
    line("completion", "Missing argument"),
    line("completion tcsh", "bash"),
    line("demo --scenario chaos", "healthy"),
    line("init /nowhere/rollout.toml", "/nowhere"),
    line("init --feature yahoo", "microsoft"),
    line("init --redis-url here", "redis://"),
    line("init --prometheus-url here", "http://"),
    line("run --config nowhere.toml", "cannot be read"),
    line("run --one", "--once"),
    line("config check --config /dev/zero", "larger than"),
    line("replay microsoft --trace /dev/zero", "line 1: not JSON"),
    line("serve --listen 8003", "HOST:PORT"),
    line("serve --listen 127.0.0.1:99999", "HOST:PORT"),
)

VARIABLES = (
    variable("ROLLOUT_INTERVAL_S", "30s", "number"),
    variable("ROLLOUT_INTERVAL_S", "0", "ROLLOUT_INTERVAL_S"),
    variable("ROLLOUT_INTERVAL_S", "nan", "ROLLOUT_INTERVAL_S"),
    variable("ROLLOUT_WINDOW_S", "-1", "ROLLOUT_WINDOW_S"),
    variable("ROLLOUT_SCRAPE_S", "1e999", "ROLLOUT_SCRAPE_S"),
    variable("ROLLOUT_SCRAPE_S", "31", "scrape_s"),
    variable("ROLLOUT_LEASE_S", "1", "lease_s"),
    variable("ROLLOUT_INTERVALL_S", "30", "did you mean ROLLOUT_INTERVAL_S?"),
    variable("ROLLOUT_REDIS", "redis://127.0.0.1", "did you mean ROLLOUT_REDIS_URL?"),
    variable("ROLLOUT_REDIS_URL", "127.0.0.1:6379", "redis://"),
    variable("ROLLOUT_REDIS_URL", "redis://127.0.0.1:x", "ROLLOUT_REDIS_URL"),
    variable("ROLLOUT_REDIS_URL", "redis://127.0.0.1:6379/x", "ROLLOUT_REDIS_URL"),
    variable("ROLLOUT_REDIS_URL", "redis://127.0.0.1?socket_timeout=9", "no other options"),
    variable("ROLLOUT_REDIS_URL", "http://127.0.0.1:6379", "redis://"),
    variable("ROLLOUT_PROMETHEUS_URL", "127.0.0.1:9090", "http://"),
    variable("ROLLOUT_PROMETHEUS_URL", "http://", "ROLLOUT_PROMETHEUS_URL"),
    variable("ROLLOUT_PROMETHEUS_HEADERS", "X-Scope-OrgID", "="),
    variable("ROLLOUT_LISTEN", "8003", "ROLLOUT_LISTEN"),
    variable("ROLLOUT_LISTEN", "127.0.0.1:0x50", "ROLLOUT_LISTEN"),
    variable("ROLLOUT_LISTEN", "127.0.0.1:70000", "ROLLOUT_LISTEN"),
    variable("ROLLOUT_API_TOKEN", "ann:", "ROLLOUT_API_TOKEN"),
    variable("ROLLOUT_API_TOKEN", "ann/fly:secret", "send"),
    variable("ROLLOUT_API_TOKEN", "ann:sha256:xyz", "ROLLOUT_API_TOKEN"),
    variable("ROLLOUT_CONFIG", "nowhere.toml", "cannot be read"),
    variable("ROLLOUT_CONFIG", "/", "cannot be read"),
    variable("ROLLOUT_SERVER", "nowhere", "http://127.0.0.1:8003", "status"),
    variable("PROVIDER_MICROSOFT_ENABLED", "1", "PROVIDER_MICROSOFT_ENABLED", TRIED_MAIL),
    variable("ROLLOUT_SEND_DEADLINE_S", "soon", "ROLLOUT_SEND_DEADLINE_S", TRIED_MAIL),
    variable("ROLLOUT_SEND_DEADLINE_S", "-1", "ROLLOUT_SEND_DEADLINE_S", TRIED_MAIL),
    signed_in("ROLLOUT_TOKEN_KEYS", "short", "ROLLOUT_TOKEN_KEYS"),
    signed_in("ROLLOUT_TOKEN_KEYS", "", "ROLLOUT_TOKEN_KEYS"),
    variable("MS_GRAPH_URL", "graph", "MS_GRAPH_URL", TRIED_MAIL),
    signed_in("MS_AUTHORITY", "ftp://x", "MS_AUTHORITY"),
    signed_in("MS_REDIRECT_URI", "callback", "MS_REDIRECT_URI"),
    signed_in("MS_CLIENT_ID", "", "MS_CLIENT_ID"),
    variable("MS_CA_FILE", "/nowhere.pem", "MS_CA_FILE", TRIED_MAIL),
)

FILES = (
    setting("[features.microsoft", "rollout.toml:1"),
    setting("interval_s = 30", "interval_s"),
    setting("[controler]\ninterval_s = 30", "controller"),
    setting("[controller]\ninterval = 30", "interval"),
    setting("[controller]\ninterval_s = '30'", "interval_s"),
    setting("[controller]\ninterval_s = true", "interval_s"),
    setting("[controller]\ninterval_s = nan", "interval_s"),
    setting("[controller]\ninterval_s = 0", "interval_s"),
    setting("[controller]\nscrape_s = 60", "scrape_s"),
    setting("[controller]\nlisten = 'x'", "listen"),
    setting("[controller]\nredis_url = 'x'", "redis://"),
    setting("[controller]\nprometheus_url = 5", "prometheus_url"),
    setting("[controller]\njournal = 5", "journal"),
    setting("[controller]\ninterval_s = 30\ninterval_s = 60", "rollout.toml:3"),
    setting("features = 5", "[features.microsoft]"),
    setting("[features]\nmicrosoft = 5", "features"),
    setting("[features.yahoo]", "provider"),
    setting("[notify]\nops = 5", "[notify.ops]"),
    setting("[notify.ops]\nurl = 'here'", "url"),
    setting(b"\xef\xbb\xbf[controller]\ninterval_s = 30", "byte order mark"),
    setting("[controller]\n# Größe\ninterval_s = 30".encode("latin-1"), "UTF-8"),
    setting(b"\xff\xfe[\x00c\x00", "UTF-8"),
    setting(b"\x00\x01\x02", "rollout.toml:1"),
    setting('{"features": {}}', "TOML"),
    setting("features:\n  microsoft:\n    provider: x\n", "TOML"),
    in_feature("provider = 5", "provider"),
    in_feature('provider = ""', "provider"),
    in_feature('action = ""', "action"),
    in_feature("slo_error_rate_threshold = 1", "slo_error_rate_threshold"),
    in_feature("slo_error_rate_threshold = 0", "slo_error_rate_threshold"),
    in_feature("slo_error_rate_threshold = '1%'", "slo_error_rate_threshold"),
    in_feature("slo_latency_p95_ms = 0", "slo_latency_p95_ms"),
    in_feature("slo_latency_p95_ms = -5", "slo_latency_p95_ms"),
    in_feature("slo_latency_p95_ms = inf", "slo_latency_p95_ms"),
    in_feature("steps = []", "steps"),
    in_feature("steps = [5, 1, 100]", "steps"),
    in_feature("steps = [1, 1, 100]", "steps"),
    in_feature("steps = [0, 100]", "steps"),
    in_feature("steps = [1, 200]", "steps"),
    in_feature("steps = ['1']", "steps"),
    in_feature("steps = 5", "steps"),
    in_feature("steps = [1.00001, 100]", "steps"),
    in_feature("initial_percent = 101", "initial_percent"),
    in_feature("bake_s = -1", "bake_s"),
    in_feature("policy = 'careful'", "sequential"),
    in_feature("on_breach = 'stop'", "pause"),
    in_feature("approval_steps = [7]", "approval_steps"),
    in_feature("approval_steps = 100", "approval_steps"),
    in_feature("max_failed_sends_per_step = -1", "max_failed_sends_per_step"),
    in_feature("slo_latncy = 5", "unknown key"),
    in_feature("freeze = 'weekend'", "freeze"),
    setting(
        "".join(
            f"[features.{name}]\nprovider='microsoft'\naction='outlook.send'\nslo_error_rate_threshold=0.01\n"
            f"slo_latency_p95_ms=500\nsteps=[1,100]\n"
            for name in ("a", "b")
        ),
        "action",
    ),
    trace("", "trace.jsonl"),
    trace("sends", "line 1: not JSON"),
    trace("[]", '{"t": 0'),
    trace('{"t": 1}', "sends"),
    trace('{"t": 1, "sends": -1, "errors": 0, "slow": 0}', "sends"),
    trace('{"t": 1, "sends": 1, "errors": 9, "slow": 0}', "errors"),
    trace('{"t": 1, "sends": NaN, "errors": 0, "slow": 0}', "sends"),
    trace('{"t": 1, "sends": "1", "errors": 0, "slow": 0}', "sends"),
    trace('{"t": 1, "sends": true, "errors": 0, "slow": 0}', "sends"),
    trace(
        '{"t": 2, "sends": 1, "errors": 0, "slow": 0}\n{"t": 1, "sends": 1, "errors": 0, "slow": 0}', "line 2"
    ),
    WrongInput(
        ("replay", "microsoft", "--trace", "trace.jsonl"), "UTF-8", files={"trace.jsonl": b"\xff\xfe\x00"}
    ),
    WrongInput(
        ("explain", "microsoft-1", "--journal", "journal.jsonl"),
        "there is no decision",
        1,
        files={"journal.jsonl": b"not json\n"},
    ),
    WrongInput(("send", "--message", "mail.json"), "JSON", files={"mail.json": b"{"}),
    WrongInput(("send", "--message", "mail.json"), "object", files={"mail.json": b"[]"}),
    WrongInput(("send", "--message", "mail.json", "--dry-run"), "to", files={"mail.json": b"{}"}),
    WrongInput(
        ("send", "--user", "a", "--to", "b@corp.example", "--text", "body.txt", "--dry-run"),
        "UTF-8",
        files={"body.txt": b"\xff\xfe\xfa"},
    ),
    WrongInput(
        ("send", "--user", "a", "--to", "not an address", "--text", "body.txt", "--dry-run"),
        "not an address",
        1,
        files={"body.txt": b"x"},
    ),
    WrongInput(("rules", "check", "--rules", "rules"), "problem", 1, files={"rules/a.yml": b"groups: ["}),
    WrongInput(("init", "here.toml"), "--force", files={"here.toml": b"x"}),
    WrongInput(("run", "--config", "folder"), "folder", files={"folder/x": b""}),
)

ALL = (*COMMAND_LINES, *VARIABLES, *FILES)
