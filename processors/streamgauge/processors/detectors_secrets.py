"""Secrets: what vendors issue has a prefix; what protocols carry has a place; private keys have a frame."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode

from streamgauge.processors.detectors_rule import Detector, Look, Span, always, part

# prefix (as RE2 and Python read it alike) and what follows it
VENDORS: dict[str, str] = {
    "aws": r"(?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA|ANPA|ANVA|AIPA)[A-Z2-7]{16}",
    "aws session": r"(?:FwoGZXIvYXdz|IQoJb3JpZ2lu)[A-Za-z0-9/+=]{20,}",
    "github": r"gh[pousr]_[A-Za-z0-9]{20,255}",
    "github fine": r"github_pat_[A-Za-z0-9_]{20,255}",
    "gitlab": r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|oas|imt|ffct)-[A-Za-z0-9_\-.]{20,255}",
    "slack": r"xox[abeoprst](?:\.xox[a-z])?-[A-Za-z0-9\-]{10,250}",
    "slack app": r"xapp-[0-9]-[A-Za-z0-9\-]{10,250}",
    "slack hook": r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_\-]{20,100}",
    "discord hook": r"discord(?:app)?\.com/api/webhooks/[0-9]{16,20}/[A-Za-z0-9_\-]{40,100}",
    "stripe": r"(?:sk|rk|pk)_(?:live|test|prod)_[A-Za-z0-9]{10,250}",
    "stripe hook": r"whsec_[A-Za-z0-9+/=]{20,100}",
    "google": r"AIza[A-Za-z0-9_\-]{35}",
    "google oauth": r"ya29\.[A-Za-z0-9_\-]{20,500}",
    "google client": r"GOCSPX-[A-Za-z0-9_\-]{20,60}",
    "google refresh": r"1//0[A-Za-z0-9_\-]{30,200}",
    "openai and anthropic": r"sk-(?:proj-|ant-|svcacct-|admin-|or-v1-|live-|test-|lf-)?[A-Za-z0-9_\-]{20,250}",
    "sendgrid": r"SG\.[A-Za-z0-9_\-]{16,32}\.[A-Za-z0-9_\-]{16,64}",
    "twilio": r"(?:SK|AC)[0-9a-f]{32}",
    "npm": r"npm_[A-Za-z0-9]{36}",
    "pypi": r"pypi-[A-Za-z0-9_\-]{50,1000}",
    "telegram": r"[0-9]{8,10}:AA[A-Za-z0-9_\-]{32,34}",
    "hugging face": r"(?:hf_|api_org_)[A-Za-z0-9]{30,60}",
    "groq": r"gsk_[A-Za-z0-9]{40,60}",
    "xai": r"xai-[A-Za-z0-9]{60,100}",
    "perplexity": r"pplx-[A-Za-z0-9]{40,60}",
    "replicate": r"r8_[A-Za-z0-9]{30,45}",
    "digitalocean": r"do[opr]_v1_[0-9a-f]{64}",
    "shopify": r"shp(?:at|ca|pa|ss)_[0-9A-Fa-f]{32}",
    "square": r"(?:sq0[a-z]{3}-[A-Za-z0-9_\-]{20,50}|EAAA[A-Za-z0-9_\-]{56,70})",
    "facebook": r"EAA(?:[CMG])[A-Za-z0-9]{60,250}",
    "mailgun": r"key-[0-9a-f]{32}",
    "mailchimp": r"[0-9a-f]{32}-us[0-9]{1,2}",
    "docker": r"dckr_(?:pat|oat)_[A-Za-z0-9_\-]{20,60}",
    "grafana": r"gl(?:sa|c)_[A-Za-z0-9_=+/]{32,250}",
    "vault": r"hv[sbr]\.[A-Za-z0-9_\-]{20,300}",
    "hashicorp": r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_\-=]{50,80}",
    "new relic": r"NR(?:AK|II|RA|SP|BR)-[A-Za-z0-9]{19,60}",
    "netlify": r"nfp_[A-Za-z0-9]{36,60}",
    "pulumi": r"pul-[0-9a-f]{40}",
    "postman": r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}",
    "sentry": r"sntry[su]_[A-Za-z0-9_+/=]{40,300}",
    "figma": r"figd_[A-Za-z0-9_\-]{30,60}",
    "atlassian": r"AT(?:ATT3|CTT3|BB)[A-Za-z0-9_\-=]{20,300}",
    "linear": r"lin_(?:api|oauth)_[A-Za-z0-9]{32,70}",
    "notion": r"(?:ntn_[A-Za-z0-9]{40,60}|secret_[A-Za-z0-9]{43})",
    "airtable": r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}",
    "databricks": r"dapi[0-9a-f]{32}(?:-[0-9])?",
    "doppler": r"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9_.\-]{40,60}",
    "rubygems": r"rubygems_[0-9a-f]{48}",
    "crates": r"cio[A-Za-z0-9]{32}",
    "alibaba": r"LTAI[A-Za-z0-9]{12,24}",
    "tencent": r"AKID[A-Za-z0-9]{28,36}",
    "planetscale": r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.\-=]{32,64}",
    "supabase": r"sb(?:p|_secret|_publishable)_[A-Za-z0-9_\-]{20,60}",
    "heroku": r"HRKU-[A-Za-z0-9_\-]{36,70}",
    "fly": r"fo1_[A-Za-z0-9_\-]{43}",
    "brevo": r"xkeysib-[0-9a-f]{64}-[A-Za-z0-9]{16}",
    "age": r"AGE-SECRET-KEY-1[0-9A-Z]{58}",
    "cloudflare": r"v1\.0-[0-9a-f]{24}-[0-9a-f]{146}",
    "asana": r"[12]/[0-9]{16}(?:/[0-9]{16})?:[0-9a-f]{32}",
    "okta": r"SSWS 00[A-Za-z0-9_\-]{40}",
}
"""Tokens of vendors, by whose they are. What none of these and no key announces is not found."""
_GATES = (
    r"A(?:KI|SI|BI|CC|GP|ID|RO|NP|NV|IP)A[A-Z2-7]{4}|ASIA|FwoGZXIv|IQoJb3Jp|AIza|AGE-SECRET|AT(?:ATT|CTT|BB)|AKID|SSWS 00",
    r"gh[pousr]_|github_pat_|gl[a-z]{2,5}[-_]|gsk_|GOCSPX-|xox[a-z]|xapp-|hooks\.slack|api/webhooks|xai-|xkeysib-",
    r"[spr]k_[lpt][a-z]{3}_|whsec_|sk-[A-Za-z0-9]|SG\.[A-Za-z0-9]|(?:SK|AC)[0-9a-f]{8}|npm_|pypi-|[0-9]:AA|[hs][fb][p_]",
    r"api_org_|pplx-|r8_|do[opr]_v1|shp[a-z]{2}_|sq0[a-z]{3}-|EAA[ACMG]|key-[0-9a-f]|[0-9a-f]-us[0-9]|dckr_|hv[sbr]\.|ya29\.|1//0",
    r"atlasv1|NR[A-Z]{2}-|nfp_|pul-|PMAK-|sntry|figd_|lin_[ao]|ntn_|secret_|pat[A-Za-z0-9]{8}|dapi|dp\.|rubygems_|cio[A-Za-z0-9]{8}",
    r"LTAI|pscale_|HRKU-|fo1_|v1\.0-|[12]/[0-9]{16}",
)
_WORDS_ONLY = re.compile(r"[a-z]+(?:[-_][a-z]+)*")


def _issued(match: re.Match[str], _: Look) -> Span | None:
    """Not `sk-learn-contrib-estimators`, nor anything else that is words."""
    return None if _WORDS_ONLY.fullmatch(match[0]) else match.span()


def _bearer(match: re.Match[str], _: Look) -> Span | None:
    value = match["x"]
    return part(match) if len(value) >= 24 or any(character.isdigit() for character in value) else None


def _basic(match: re.Match[str], _: Look) -> Span | None:
    value = match["x"]
    try:
        plain = b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return part(match) if b":" in plain else None


def _userinfo(match: re.Match[str], _: Look) -> Span | None:
    return None if match["x"] in {"git", "hg", "svn", "[credentials]"} else part(match)


SECRETS = (
    Detector(
        "private_key",
        (r"-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY", r"PuTTY-User-Key-File", r"(?i)-----BEGIN[ +_]"),
        re.compile(
            r"-----BEGIN[ +_][A-Z0-9 +_]{0,32}PRIVATE[ +_]KEY(?:[ +_]BLOCK)?-----.*?(?:-----END[ +_][A-Z0-9 +_]{0,32}-----|\Z)"
            r"|PuTTY-User-Key-File-\d:.*",
            re.DOTALL | re.IGNORECASE,
        ),
        always,
    ),
    Detector(
        "credentials",
        (r"://[^\s/?#@]*@",),
        re.compile(r"(?<=://)(?P<x>[^\s/?#\"'<>]{1,512})@"),
        _userinfo,
    ),
    Detector(
        "jwt",
        (r"eyJ[A-Za-z0-9_-]{6}",),
        re.compile(r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_\-]{6,}(?:\.[A-Za-z0-9_\-]*){1,4}"),
        always,
    ),
    Detector(
        "secret",
        _GATES,
        re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(VENDORS.values())})(?![A-Za-z0-9])"),
        _issued,
    ),
    Detector(
        "secret",
        (r"(?i)\bbearer[\s:=+]",),
        re.compile(r"(?<![A-Za-z])bearer(?:\s|[:=+]){1,3}(?P<x>[A-Za-z0-9._~+/\-]{8,}={0,2})", re.IGNORECASE),
        _bearer,
    ),
    Detector(
        "secret",
        (r"(?i)\bbasic[\s:=+]",),
        re.compile(r"(?<![A-Za-z])basic(?:\s|[:=+]){1,3}(?P<x>[A-Za-z0-9+/]{6,}={0,2})", re.IGNORECASE),
        _basic,
    ),
)
