"""Stock classes: what becomes of labels that OpenTelemetry's conventions, HTTP and our own context name.

Attributes are known by their words, so `client.address`, `client_address` and `clientAddress` are one. A metric cannot
declare otherwise: whoever wants to keep more gives a label another name, and answers for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from streamgauge.schemas.key_names import tokens, word_set

REPLACE, GENERALISE, SCAN = "replace", "generalise", "scan"
"""What becomes of values: replaced whole by `[rule]`, made coarse by a rule of `generalise`, or scanned by detectors."""


@dataclass(frozen=True, slots=True)
class Stock:
    """The class of an attribute's values, and what becomes of them: `rule` names the token or the coarse form."""

    attribute: str
    group: str
    action: str
    rule: str = ""
    hint: str = ""


def _rows(group: str, action: str, attributes: str, rule: str = "", hint: str = "") -> tuple[Stock, ...]:
    return tuple(Stock(one, group, action, rule, hint) for one in attributes.split())


STOCK: tuple[Stock, ...] = (
    # people
    *_rows("person", REPLACE, "user.* enduser.* process.user.name process.real_user.name process.saved_user.name", "user"),
    *_rows("person", REPLACE, "process.owner file.owner.name", "user"),
    *_rows("machine", SCAN, "process.user.id process.real_user.id process.saved_user.id", "", "id"),
    *_rows("person", REPLACE, "user.full_name tls.client.subject", "name"),
    *_rows("person", REPLACE, "user.email", "email"),
    *_rows("category of people", SCAN, "user.roles user.role enduser.role user.type user.tier user.segment user.country"),
    # their connections
    *_rows("network address", GENERALISE, "client.address client.socket.address source.address net.peer.ip", "ip_prefix"),
    *_rows("network address", GENERALISE, "net.sock.peer.addr network.peer.address http.client_ip", "ip_prefix"),
    *_rows("network address", REPLACE, "http.request.header.x_forwarded_for http.request.header.forwarded", "ip"),
    *_rows("network address", SCAN, "server.address server.socket.address destination.address net.host.ip host.ip", "", "ip"),
    *_rows("network address", SCAN, "net.sock.host.addr network.local.address k8s.pod.ip dns.answers", "", "ip"),
    *_rows("network address", SCAN, "net.peer.name net.host.name net.sock.peer.name http.host http.server_name peer.service"),
    *_rows("hardware address", REPLACE, "host.mac hw.network.physical_address", "device"),
    # what they ask for
    *_rows("address of a page", GENERALISE, "url.full url.original http.url http.target browser.document.url.full", "url_query"),
    *_rows("address of a page", GENERALISE, "http.request.header.referer http.request.header.referrer", "url"),
    *_rows("address of a page", GENERALISE, "url.query", "query"),
    *_rows("address of a page", REPLACE, "url.fragment", "text"),
    *_rows("address of a page", SCAN, "url.path url.template http.route url.scheme url.domain url.port url.extension"),
    *_rows("header", REPLACE, "http.request.header.* http.response.header.* rpc.*.metadata rpc.*.metadata.*", "header"),
    *_rows("header", REPLACE, "http.request.header.authorization http.request.header.proxy_authorization", "secret"),
    *_rows("header", REPLACE, "http.request.header.cookie http.response.header.set_cookie", "secret"),
    *_rows("header", SCAN, "http.request.header.content_type http.request.header.content_length", "", "number"),
    *_rows("header", SCAN, "http.request.header.accept http.request.header.accept_encoding http.request.header.host"),
    *_rows("header", SCAN, "http.response.header.content_type http.response.header.content_length", "", "number"),
    *_rows("header", SCAN, "http.response.header.cache_control http.request.header.cache_control"),
    *_rows("user agent", GENERALISE, "user_agent.original http.user_agent http.request.header.user_agent", "user_agent"),
    *_rows("user agent", GENERALISE, "user_agent", "user_agent"),
    *_rows("user agent", SCAN, "user_agent.*", "", "version"),
    # sessions and devices
    *_rows("session", REPLACE, "session.id session.previous_id mcp.session.id gen_ai.conversation.id", "session"),
    *_rows("session", REPLACE, "messaging.message.conversation_id feature_flag.context.id", "session"),
    *_rows("device", REPLACE, "device.id app.installation.id hw.serial_number network.carrier.icc", "device"),
    *_rows("device", SCAN, "device.manufacturer device.model.name device.model.identifier", "", "id"),
    # where they are
    *_rows("location", REPLACE, "geo.*", "location"),
    *_rows("location", SCAN, "geo.continent.code geo.country.iso_code geo.region.iso_code"),
    *_rows("location", REPLACE, "app.screen.coordinate.x app.screen.coordinate.y", "location"),
    # texts that may say anything
    *_rows("text", REPLACE, "db.statement db.query.text db.query.parameter db.query.parameter.*", "text"),
    *_rows("text", REPLACE, "db.operation.parameter db.operation.parameter.* db.connection_string", "text"),
    *_rows("text", REPLACE, "graphql.document log.record.original", "text"),
    *_rows("text", REPLACE, "exception.message exception.stacktrace error.message code.stacktrace", "text"),
    *_rows("text", REPLACE, "rpc.jsonrpc.error_message feature_flag.error.message", "text"),
    *_rows("text", REPLACE, "feature_flag.evaluation.error.message otel.status_description", "text"),
    *_rows("text", REPLACE, "process.command_args process.command_line process.environment_variable", "text"),
    *_rows("text", REPLACE, "process.environment_variable.* container.command_args container.command_line", "text"),
    *_rows("text", REPLACE, "gen_ai.prompt gen_ai.completion gen_ai.input.messages gen_ai.output.messages", "text"),
    *_rows("text", REPLACE, "gen_ai.system_instructions gen_ai.tool.call.arguments gen_ai.tool.call.result", "text"),
    *_rows("text", REPLACE, "gen_ai.retrieval.query.text gen_ai.retrieval.documents vcs.change.title", "text"),
    *_rows("key of a record", REPLACE, "messaging.kafka.message.key messaging.rocketmq.message.keys", "text"),
    *_rows("key of a record", REPLACE, "messaging.gcp_pubsub.message.ordering_key aws.s3.key cloudevents.event_subject", "text"),
    # certificates
    *_rows("certificate", REPLACE, "tls.client.certificate tls.client.certificate_chain", "secret"),
    *_rows("certificate", REPLACE, "tls.client.hash.md5 tls.client.hash.sha1 tls.client.hash.sha256 tls.client.ja3", "device"),
    # machines and programs
    *_rows("machine", SCAN, "host.* k8s.* container.* cloud.* aws.* gcp.* azure.* os.* process.* faas.* thread.*", "", "id"),
    *_rows("program", SCAN, "service.* deployment.* telemetry.* otel.* code.* db.* messaging.* rpc.* feature_flag.*"),
    *_rows("program", SCAN, "gen_ai.* cicd.* vcs.* tls.* network.* test.* hw.* app.* browser.* event.* exception.*"),
    # what our own context calls its columns
    *_rows("context", SCAN, "service environment region tenant country operation status instance segment error_type"),
    *_rows("context", SCAN, "version", "", "version"),
)  # fmt: skip
"""Attributes and their classes. `x.*` is everything below `x` that no longer or exact one names; `rpc.*.metadata` has one
word between."""


def _exact_and_prefixes() -> tuple[dict[tuple[str, ...], Stock], dict[tuple[str, ...], Stock]]:
    exact: dict[tuple[str, ...], Stock] = {}
    prefixes: dict[tuple[str, ...], Stock] = {}
    for one in STOCK:
        for attribute in _spelled(one.attribute):
            if attribute.endswith(".*"):
                prefixes[tokens(attribute)] = one
            else:
                exact[tokens(attribute)] = one
    return exact, prefixes


def _spelled(attribute: str) -> tuple[str, ...]:
    """`rpc.*.metadata` for the two kinds of calls that have some."""
    if attribute.startswith("rpc.*."):
        rest = attribute.removeprefix("rpc.*")
        kinds = ("request", "response", "grpc.request", "grpc.response", "connect_rpc.request", "connect_rpc.response")
        return tuple(f"rpc.{kind}{rest}" for kind in kinds)
    return (attribute,)


CATEGORY = Stock("user.*", "category of people", SCAN)
_EXACT, _PREFIXES = _exact_and_prefixes()
LONGEST = max(map(len, _PREFIXES))
GENERAL = frozenset({"machine", "program"})
"""Groups whose wildcards say only where a label comes from: a name that speaks of a person or a secret is heard first."""


COARSE = word_set(
    "type types kind class category tier plan segment group groups cohort role roles status state level country region locale "
    "language lang source channel origin action actions event events activity agent facing initiated generated defined "
    "visible experience interface flow journey feature service store api count total number limit quota sessions "
    "seconds minutes hours days ms rate ratio age_band band active online new returning logged_in pool queue"
)
"""Words at the end of a name below `user.*` that many people share the values of, or that are no one's."""


def stock_class(name: str) -> Stock | None:
    """The class of a label of this name, None where the conventions do not know it. The longest fitting one counts."""
    words = tokens(name)
    if found := _EXACT.get(words):
        return found
    for length in range(min(LONGEST, len(words) - 1), 0, -1):
        if found := _PREFIXES.get(words[:length]):
            return CATEGORY if found.group == "person" and words[-1] in COARSE else found
    return None


def by_group() -> Mapping[str, tuple[Stock, ...]]:
    """All of them by group, in order: for documents."""
    groups: dict[str, list[Stock]] = {}
    for one in STOCK:
        groups.setdefault(one.group, []).append(one)
    return MappingProxyType({group: tuple(members) for group, members in groups.items()})
