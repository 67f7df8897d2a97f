"""Jingle and JMI stanzas (XEP-0166, 0167, 0176, 0320, 0338, 0339, 0353) as this phone writes and reads them."""

from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

JINGLE = "urn:xmpp:jingle:1"
RTP = "urn:xmpp:jingle:apps:rtp:1"
INFO = "urn:xmpp:jingle:apps:rtp:info:1"
ICE = "urn:xmpp:jingle:transports:ice-udp:1"
DTLS = "urn:xmpp:jingle:apps:dtls:0"
GROUP = "urn:xmpp:jingle:apps:grouping:0"
SOURCE = "urn:xmpp:jingle:apps:rtp:ssma:0"
ERRORS = "urn:xmpp:jingle:errors:1"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
JMI = "urn:xmpp:jingle-message:0"
FEATURES = [JINGLE, RTP, "urn:xmpp:jingle:apps:rtp:audio", INFO, ICE, DTLS, GROUP, SOURCE, JMI]


class Malformed(Exception):
    """What is wrong with a stanza."""


@dataclass
class Payload:
    number: int
    name: str
    rate: int
    channels: int = 1
    parameters: dict = field(default_factory=dict)


@dataclass
class Remote:
    """The audio content of the other side."""

    name: str = "audio"
    creator: str = "initiator"
    payloads: list = field(default_factory=list)
    ufrag: str = ""
    pwd: str = ""
    fingerprints: list = field(default_factory=list)
    setup: str = ""
    candidates: list = field(default_factory=list)
    mux: bool = False
    grouped: bool = False


def tag(namespace, name):
    return f"{{{namespace}}}{name}"


def jingle(action, sid, **attributes):
    return ET.Element(tag(JINGLE, "jingle"), {"action": action, "sid": sid, **attributes})


def candidate(out, c, number):
    ET.SubElement(out, tag(ICE, "candidate"), {
        "component": str(c.component), "foundation": c.foundation, "generation": "0", "id": f"c{number}",
        "ip": c.ip, "network": "0", "port": str(c.port), "priority": str(c.priority), "protocol": c.protocol.lower(),
        "type": c.type,
    })  # fmt: skip


def content(name, creator, payloads, local, ssrc, cname, setup, with_candidates=True):
    """`local` = (ufrag, pwd, sha-256 fingerprint, candidates)."""
    ufrag, pwd, fingerprint, candidates = local
    out = ET.Element(tag(JINGLE, "content"), {"creator": creator, "name": name, "senders": "both"})
    description = ET.SubElement(out, tag(RTP, "description"), {"media": "audio"})
    for p in payloads:
        facts = {"id": str(p.number), "name": p.name, "clockrate": str(p.rate)}
        if p.channels > 1:
            facts["channels"] = str(p.channels)
        entry = ET.SubElement(description, tag(RTP, "payload-type"), facts)
        for key, value in p.parameters.items():
            ET.SubElement(entry, tag(RTP, "parameter"), {"name": key, "value": value})
    ET.SubElement(description, tag(RTP, "rtcp-mux"))
    source = ET.SubElement(description, tag(SOURCE, "source"), {"ssrc": str(ssrc)})
    ET.SubElement(source, tag(SOURCE, "parameter"), {"name": "cname", "value": cname})
    transport = ET.SubElement(out, tag(ICE, "transport"), {"ufrag": ufrag, "pwd": pwd})
    mark = ET.SubElement(transport, tag(DTLS, "fingerprint"), {"hash": "sha-256", "setup": setup})
    mark.text = fingerprint
    if with_candidates:
        for number, c in enumerate(candidates):
            candidate(transport, c, number)
    return out


def group(out, name):
    bundle = ET.SubElement(out, tag(GROUP, "group"), {"semantics": "BUNDLE"})
    ET.SubElement(bundle, tag(GROUP, "content"), {"name": name})


def read_candidates(transport):
    found = []
    for c in transport.findall(tag(ICE, "candidate")):
        # RTCP travels with RTP here, so the second component has nothing to carry.
        if c.get("component") == "1" and c.get("protocol", "").lower() == "udp":
            found.append({
                "component": 1, "foundation": c.get("foundation"), "ip": c.get("ip"), "port": int(c.get("port")),
                "priority": int(c.get("priority")), "protocol": "udp", "type": c.get("type"),
            })  # fmt: skip
    return found


def read(element):
    """The audio content of a session-initiate or session-accept."""
    for part in element.findall(tag(JINGLE, "content")):
        description = part.find(tag(RTP, "description"))
        transport = part.find(tag(ICE, "transport"))
        if description is None or description.get("media") != "audio" or transport is None:
            continue
        try:
            remote = Remote(name=part.attrib["name"], creator=part.get("creator", "initiator"))
            for p in description.findall(tag(RTP, "payload-type")):
                facts = {q.get("name"): q.get("value") for q in p.findall(tag(RTP, "parameter"))}
                channels, rate = int(p.get("channels", "1")), int(p.get("clockrate", "8000"))
                remote.payloads.append(Payload(int(p.attrib["id"]), p.get("name", ""), rate, channels, facts))
            remote.mux = description.find(tag(RTP, "rtcp-mux")) is not None
            remote.ufrag, remote.pwd = transport.attrib["ufrag"], transport.attrib["pwd"]
            for mark in transport.findall(tag(DTLS, "fingerprint")):
                remote.fingerprints.append((mark.attrib["hash"], (mark.text or "").strip()))
                remote.setup = mark.get("setup", "")
            remote.candidates = read_candidates(transport)
        except (KeyError, ValueError, TypeError) as error:
            raise Malformed(f"content cannot be read: {error!r}") from error
        bundle = element.find(tag(GROUP, "group"))
        remote.grouped = bundle is not None and bundle.get("semantics") == "BUNDLE"
        if not remote.fingerprints:
            raise Malformed("no DTLS fingerprint")
        if not remote.mux:
            raise Malformed("no rtcp-mux")
        return remote
    raise Malformed("no audio content over ICE")


def reason_of(element, namespace=JINGLE):
    """The name of the condition in a <reason/>, or None."""
    reason = element.find(tag(namespace, "reason"))
    if reason is None:
        # JMI borrows the element from Jingle's namespace.
        reason = element.find(tag(JINGLE, "reason"))
    for child in reason if reason is not None else ():
        namespace_, _, name = child.tag[1:].partition("}")
        if namespace_ == JINGLE and name != "text":
            return name
    return None


def with_reason(element, name):
    if name:
        ET.SubElement(ET.SubElement(element, tag(JINGLE, "reason")), tag(JINGLE, name))
    return element
