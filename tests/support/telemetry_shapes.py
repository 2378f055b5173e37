"""Values as telemetry has them, which are nobody's: what detectors must leave alone, by kind."""

from __future__ import annotations

import base64
import string
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

Make = Callable[[Random], str]
HEX = "0123456789abcdef"
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_WORDS = (
    "checkout cart orders payment search user session cache queue worker gateway bill"
    "ing catalog stock ship mail auth edge batch index"
)
WORDS: list[str] = [*_WORDS.split()]
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.{}.{} Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:{}.0) Gecko/20100101 Firefox/{}.{}",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_{} like Mac OS X) AppleWebKit/605.1.{} (KHTML, like Gecko) "
    "Version/17.{} Mobile/15E148 Safari/604.1",
    "python-requests/2.{}.{}",
    "okhttp/4.{}.{}",
    "curl/8.{}.{}",
    "Go-http-client/2.0",
    "kube-probe/1.{}",
    "Prometheus/2.{}.{}",
    "Mozilla/5.0 (Linux; Android 13; SM-S901B) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{}.1 Safari/605.1.15",
    "Googlebot/2.1 (+http://www.google.com/bot.html)",
    "ELB-HealthChecker/2.0",
    "Datadog/Synthetics {}.{}",
    "aws-sdk-java/2.{}.{} Linux/5.10.{}-{}.amzn2 OpenJDK_64-Bit_Server_VM/17.0.{}+{}-LTS",
)
SQL = (
    "SELECT * FROM orders WHERE id = {} LIMIT 100",
    "INSERT INTO t (a, b, c) VALUES ($1, $2, $3)",
    "UPDATE users SET password = ? WHERE id = ?",
    "SELECT count(*) FROM s WHERE ts BETWEEN {} AND {}",
    "DELETE FROM cache WHERE key = %s AND expires < {}",
    "select token, expires_at from sessions where token = :token",
    "SELECT a.id, b.name FROM a JOIN b ON a.id = b.a_id WHERE a.day >= '2026-0{m}-1{d}' AND b.n IN ({}, {}, {})",
)
TEXTS = (
    "connection reset by peer",
    "context deadline exceeded",
    "unexpected token: identifier",
    "deadlock detected",
    "no route to host",
    "invalid password",
    "token expired",
    "timeout after {}ms",
    "retry {} of 5",
    "HTTP 503 Service Unavailable",
    "took 1 234 567 ms",
    "read {} bytes in {}ms",
    "GC pause (G1 Evacuation Pause) 12.{}ms",
    "status 200 512 1024",
    "Cannot read properties of undefined (reading 'length')",
    "max_tokens={} temperature=0.7",
    "password must be 8 characters",
    "std::vector<std::string>::at",
    "a::b::c::d",
    'java.lang.NullPointerException: Cannot invoke "String.length()"',
    "error code: -{}",
    "exit status {}",
    "port 8080 is in use",
    "page 12 of {}",
    "{}% of 100%",
    "E1101: no member",
    "offset {} partition 3",
    "partition assigned: [orders-0, orders-1]",
    "buckets 5 10 25 50 100 250 500 1000 2500 5000 10000",
    "utf-8",
    "k8s",
    "p99.9",
)


def digits(source: Random, count: int) -> str:
    """So many random digits, of which the first is none."""
    return source.choice("123456789") + "".join(source.choices(string.digits, k=count - 1))


def hexa(source: Random, count: int) -> str:
    """So many random hexadecimal digits."""
    return "".join(source.choices(HEX, k=count))


def _instant(source: Random) -> datetime:
    return datetime(2015, 1, 1, tzinfo=UTC) + timedelta(microseconds=source.randrange(20 * 365 * 86_400 * 10**6))


def _epoch(source: Random, scale: int) -> str:
    return str(source.randrange(1_420_000_000 * scale, 1_890_000_000 * scale))


def _ean(source: Random) -> str:
    body = source.choice(["400", "45", "49", "93", "978"]) + digits(source, 10)
    body = body[:12]
    weighted = sum(int(digit) * (3 if position % 2 else 1) for position, digit in enumerate(body))
    return body + str(-weighted % 10)


def _word(source: Random) -> str:
    return source.choice(WORDS)


def _metric(source: Random) -> str:
    return source.choice(
        [
            f"{_word(source)}_{_word(source)}_{source.choice(['total', 'seconds', 'bytes', 'seconds_bucket', 'ratio', 'p99'])}",
            f"{_word(source)}.{_word(source)}.{source.choice(['duration', 'count', 'p95', 'size_bytes', 'rate_1m'])}",
            f"jvm.gc.{_word(source)}.time",
            f"http.server.request.duration_p{source.randrange(100)}",
            f"system.cpu.core{source.randrange(128)}.utilization",
            f"kafka.consumer.{_word(source)}.lag",
            f"process_resident_memory_bytes_{source.randrange(10)}",
            f"{_word(source)}:rate5m",
        ]
    )


def _filled(form: str, source: Random) -> str:
    while "{}" in form:
        form = form.replace("{}", str(source.randrange(1, 10 ** source.randrange(1, 7))), 1)
    return form.replace("{m}", str(source.randrange(1, 10))).replace("{d}", str(source.randrange(10)))


def _agent(source: Random) -> str:
    form = source.choice(AGENTS)
    while "{}" in form:
        form = form.replace(
            "{}", str(source.choice([source.randrange(20), source.randrange(90, 150), source.randrange(10_000)])), 1
        )
    return form


def _uuid(source: Random) -> str:
    one = uuid.UUID(int=source.getrandbits(128), version=source.choice([1, 4, 5]))
    return source.choice([str(one), str(one), str(one).upper(), one.hex, f"urn:uuid:{one}", f"{{{one}}}"])


NEGATIVES: dict[str, Make] = {
    "order id": lambda r: (
        f"{r.choice(['ORD', 'ORD', 'ORDER', 'INV', 'PO', 'TXN', 'REF'])}-{digits(r, r.choice([8, 10, 10, 12]))}"
    ),
    "10-digit integer": lambda r: digits(r, 10),
    "integer": lambda r: digits(r, r.randrange(1, 13)),
    "long integer": lambda r: digits(r, r.randrange(17, 21)),
    "epoch s": lambda r: _epoch(r, 1),
    "epoch ms": lambda r: _epoch(r, 1_000),
    "epoch us": lambda r: _epoch(r, 1_000_000),
    "epoch ns": lambda r: _epoch(r, 1_000_000_000),
    "epoch with fraction": lambda r: f"{_epoch(r, 1)}.{r.randrange(10**6):06d}",
    "uuid": _uuid,
    "trace id": lambda r: hexa(r, 32),
    "span id": lambda r: hexa(r, 16),
    "traceparent": lambda r: f"00-{hexa(r, 32)}-{hexa(r, 16)}-01",
    "b3": lambda r: f"{hexa(r, 32)}-{hexa(r, 16)}-1",
    "hash": lambda r: hexa(r, r.choice([8, 12, 24, 40, 56, 64, 96, 128])),
    "named hash": lambda r: r.choice(
        ["sha256:{}", "md5={}", "sha1-{}", 'etag: "{}"', "image@sha256:{}", "commit {}"]
    ).format(hexa(r, r.choice([32, 40, 64]))),
    "fingerprint": lambda r: ":".join(hexa(r, 2) for _ in range(r.choice([16, 20, 32]))),
    "ulid": lambda r: "01" + "".join(r.choices(CROCKFORD, k=24)),
    "ksuid, nanoid": lambda r: "".join(
        r.choices(string.ascii_letters + string.digits + "-_", k=r.choice([21, 22, 27]))
    ),
    "base64": lambda r: base64.b64encode(r.randbytes(r.randrange(9, 40))).decode(),
    "object id": lambda r: hexa(r, 24),
    "snowflake": lambda r: str((r.randrange(3 * 10**11, 5 * 10**11) << 22) | r.getrandbits(22)),
    "version": lambda r: (
        f"{r.choice(['', 'v'])}{r.randrange(30)}.{r.randrange(60)}.{r.randrange(400)}"
        f"{r.choice(['', '', '-rc.1', '-SNAPSHOT', '+build.5', '.Final', '-alpine3.18'])}"
    ),
    "version of four": lambda r: (
        f"{r.choice(['', '', 'v', 'V'])}{r.randrange(20)}.{r.randrange(20)}.{r.randrange(400)}.{r.randrange(3000)}"
    ),
    "release of four": lambda r: (
        f"{r.choice(['version=', 'v', 'build ', 'release-', 'driver/', 'nginx/', 'agent-', 'sdk-version: '])}"
        f"{r.randrange(200)}.{r.randrange(20)}.{r.randrange(100)}.{r.randrange(100)}"
    ),
    "calendar version": lambda r: (
        f"{r.randrange(2018, 2027)}.{r.randrange(1, 13)}.{r.randrange(1, 31)}{r.choice(['', '.1', '-2'])}"
    ),
    "package": lambda r: (
        f"{_word(r)}@{r.randrange(20)}.{r.randrange(60)}.{r.randrange(60)}{r.choice(['', '-beta.1', '.tgz', '-next.0'])}"
    ),
    "oid": lambda r: "1.3.6.1.4.1." + ".".join(str(r.randrange(1, 2000)) for _ in range(r.randrange(2, 6))),
    "metric name": _metric,
    "path": lambda r: (
        f"/api/v{r.randrange(4)}/{_word(r)}/{digits(r, 8)}/{_word(r)}/{digits(r, 6)}{r.choice(['', '.json', '/'])}"
    ),
    "file": lambda r: f"/var/log/{_word(r)}/{_word(r)}-{_instant(r):%Y-%m-%d}.log.{r.randrange(20)}.gz",
    "windows path": lambda r: f"C:\\Users\\Public\\{_word(r)}\\new\\{_word(r)}_{r.randrange(100)}.dll",
    "image": lambda r: f"/static/img/{_word(r)}-{hexa(r, 8)}@{r.choice('23')}x.{r.choice(['png', 'jpg', 'webp'])}",
    "url": lambda r: (
        f"https://{_word(r)}.example.com:{r.randrange(1000, 10000)}/{_word(r)}"
        f"?page={r.randrange(100)}&size={r.randrange(100)}&sort=-created_at&q={_word(r)}%20{_word(r)}"
    ),
    "host": lambda r: r.choice(
        [
            f"ip-10-{r.randrange(256)}-{r.randrange(256)}-7.ap-southeast-2.compute.internal",
            f"{_word(r)}-{r.randrange(100):02d}.prod.example.com",
            f"{_word(r)}.{_word(r)}.svc.cluster.local:8080",
            f"broker-{r.randrange(9)}.kafka.example.internal:9092",
            f"ec2-13-{r.randrange(256)}-{r.randrange(256)}-{r.randrange(256)}.ap-southeast-2.compute.amazonaws.com",
        ]
    ),
    "pod": lambda r: (
        f"{_word(r)}-{_word(r)}-{''.join(r.choices('bcdfghjklmnpqrstvwxz2456789', k=10))}"
        f"-{''.join(r.choices('bcdfghjklmnpqrstvwxz2456789', k=5))}"
    ),
    "container": lambda r: r.choice(["{}", "docker://{}", "containerd://{}", "cri-o-{}.scope"]).format(
        hexa(r, r.choice([12, 64]))
    ),
    "instance": lambda r: f"i-0{hexa(r, 16)}",
    "arn": lambda r: (
        f"arn:aws:{r.choice(['s3', 'sqs', 'lambda', 'dynamodb'])}:ap-southeast-2"
        f":{digits(r, 12)}:{r.choice(['function', 'table', 'queue'])}/{_word(r)}-{_word(r)}"
    ),
    "user agent": _agent,
    "java frame": lambda r: (
        f"com.example.{_word(r)}.{_word(r).title()}${r.randrange(9)}.{_word(r)}({_word(r).title()}.java:{r.randrange(2000)})"
    ),
    "python frame": lambda r: (
        f'File "/app/{_word(r)}/{_word(r)}.py", line {r.randrange(3000)}, in {_word(r)}_{_word(r)}'
    ),
    "pointer": lambda r: r.choice(
        [
            f"0x{hexa(r, 16)}",
            f"<object at 0x7f{hexa(r, 10)}>",
            f"java.lang.Object@{hexa(r, 8)}",
            f"com.example.{_word(r).title()}@{hexa(r, 7)}",
        ]
    ),
    "sku": lambda r: r.choice(
        [
            f"SKU-{digits(r, 6)}",
            f"{r.choice(string.ascii_uppercase)}{r.choice(string.ascii_uppercase)}"
            f"-{digits(r, 4)}-{r.choice(string.ascii_uppercase)}",
            f"{_word(r)[:3].upper()}{digits(r, 5)}",
            f"{digits(r, 4)}-{r.choice('ABC')}{digits(r, 3)}",
            _ean(r),
            digits(r, 13),
        ]
    ),
    "iso instant": lambda r: _instant(r).strftime(
        r.choice(
            [
                "%Y-%m-%dT%H:%M:%SZ",
                "%Y-%m-%dT%H:%M:%S.%f+00:00",
                "%Y-%m-%d %H:%M:%S",
                "%Y-%m-%d",
                "%Y%m%dT%H%M%SZ",
                "%Y%m%d%H%M%S",
                "%Y-%m-%d %H",
                "%Y-%m-%d-%H-%M",
                "%Y%m%d",
                "%Y/%m/%d %H:%M",
                "%H:%M:%S.%f",
            ]
        )
    ),
    "other date": lambda r: _instant(r).strftime(
        r.choice(
            [
                "%d/%m/%Y %H:%M",
                "%d.%m.%Y",
                "%d-%m-%Y %H:%M:%S",
                "%m/%d/%Y",
                "%a, %d %b %Y %H:%M:%S GMT",
                "%d/%b/%Y:%H:%M:%S +0000",
                "%m-%d-%Y",
                "%d.%m.%Y %H.%M",
                "%m-%d %H:%M:%S.%f",
            ]
        )
    ),
    "duration": lambda r: r.choice(
        [
            f"{r.randrange(5000)}ms",
            f"{r.random() * 100:.3f}s",
            f"PT{r.randrange(60)}M{r.randrange(60)}.{r.randrange(1000)}S",
            f"{r.randrange(24)}:{r.randrange(60):02d}:{r.randrange(60):02d}",
            f"{r.randrange(100)}h{r.randrange(60)}m{r.randrange(60)}s",
            f"{r.randrange(10**6)} us",
        ]
    ),
    "float": lambda r: r.choice(
        [
            repr(r.random()),
            repr(r.random() * 1e6),
            repr(r.random() * 1e-9),
            f"{r.random() * 1e12:e}",
            f"-{r.random() * 1000:.4f}",
            f"{r.randrange(1, 999)},{r.randrange(1000):03d},{r.randrange(1000):03d}",
        ]
    ),
    "size": lambda r: f"{r.randrange(1000)}{r.choice(['B', 'KiB', ' MB', 'GB', ' bytes'])}",
    "coordinates": lambda r: f"{r.uniform(-90, 90):.6f},{r.uniform(-180, 180):.6f}",
    "money": lambda r: (
        f"{r.choice(['$', '€', 'USD ', 'JPY '])}{r.randrange(1, 999)},{r.randrange(1000):03d}.{r.randrange(100):02d}"
    ),
    "sql": lambda r: _filled(r.choice(SQL), r),
    "text": lambda r: _filled(r.choice(TEXTS), r),
    "locale, zone": lambda r: r.choice(
        [
            "en-US",
            "zh_CN.UTF-8",
            "Asia/Tokyo",
            "Australia/Sydney",
            "UTC+10:00",
            "GMT-03:30",
            "ap-southeast-2",
            "ap-northeast-1a",
            "JP",
            "application/json; charset=utf-8",
        ]
    ),
    "topic": lambda r: f"sg.ap-southeast-2.{_word(r)}.v{r.randrange(9)}-{r.randrange(64)}",
    "queue url": lambda r: f"sqs.ap-southeast-2.amazonaws.com/{digits(r, 12)}/{_word(r)}",
    "postcode, small code": lambda r: r.choice(
        [
            f"{r.randrange(10000, 99999)}",
            f"{r.randrange(10000, 99999)}-{r.randrange(1000, 9999)}",
            f"E{r.randrange(1000, 9999)}",
            f"ERR_{_word(r).upper()}_{r.randrange(100)}",
            f"0x{hexa(r, 8)}",
            f"{r.randrange(100, 600)}",
        ]
    ),
    "range, tuple": lambda r: r.choice(
        [
            f"bytes={r.randrange(10**6)}-{r.randrange(10**6, 10**7)}",
            f"({r.randrange(100)}, {r.randrange(100)})",
            f"{r.randrange(1000)}/{r.randrange(1000, 10000)}",
            f"{r.randrange(100, 999)}x{r.randrange(100, 999)}",
            f"[{r.randrange(999)}, {r.randrange(999)}, {r.randrange(9999)}, {r.randrange(9999)}]",
            f"{r.randrange(10_000)} {r.randrange(10_000)} {r.randrange(10_000)}",
        ]
    ),
    "cidr, mask": lambda r: r.choice(
        [
            "10.0.0.0/8",
            "172.16.0.0/12",
            "255.255.255.0",
            "0.0.0.0:8080",
            "127.0.0.1:5432",
            "[::1]:9000",
            "::",
            "localhost:9092",
        ]
    ),
    "json": lambda r: (
        f'{{"service":"{_word(r)}","n":{digits(r, 5)},"ok":true,'
        f'"at":{_epoch(r, 1_000)},"id":"{uuid.UUID(int=r.getrandbits(128), version=4)}","took_ms":{r.random() * 100:.2f}}}'
    ),
    "pairs": lambda r: (
        f"service={_word(r)} level=info status={r.randrange(200, 600)} "
        f"bytes={r.randrange(10**7)} took={r.randrange(1000)}ms ts={_epoch(r, 1)} trace={hexa(r, 32)}"
    ),
    "cache key": lambda r: f"{_word(r)}:v{r.randrange(9)}:{_word(r)}:{digits(r, 9)}:{hexa(r, 8)}",
    "feature, enum": lambda r: r.choice(
        [
            "true",
            "GET",
            "POST",
            "checkout-v2",
            "enable_new_cart",
            "SUCCESS",
            "card_declined",
            "visa",
            "token_refresh",
            "session_minutes",
            "password_reset",
            "phone_verified",
            "ip_allowlist",
            "email_sent",
            "passport-js",
            "auth_method",
            "keyboard",
            "compass",
        ]
    ),
}
"""Every kind, with what makes one."""
NEVER = frozenset(
    {
        "trace id",
        "span id",
        "traceparent",
        "uuid",
        "epoch s",
        "epoch ms",
        "epoch us",
        "epoch ns",
        "version",
        "version of four",
        "release of four",
        "metric name",
        "order id",
        "10-digit integer",
        "hash",
        "fingerprint",
        "ulid",
        "iso instant",
    }
)
"""Kinds of which not a single one may be touched."""
