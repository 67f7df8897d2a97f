"""One call of the phone: its Jingle session from the first stanza to the last."""

import asyncio
import secrets
from xml.etree import ElementTree as ET

import jingle as J
from media import CODECS, EVENTS, Media, codec_of


class Call:
    """`phone` sends (`iq`, `message`) and reports; `stage`: proposed, proceeded, initiated, active, ended."""

    def __init__(self, phone, sid, peer, outgoing, jmi):
        self.phone, self.sid, self.peer, self.outgoing, self.jmi = phone, sid, peer, outgoing, jmi
        self.stage, self.wanted, self.lock = "proposed", False, asyncio.Lock()
        self.media, self.remote, self.name, self.task, self.extra = None, None, "audio", None, []

    def report(self, event, **facts):
        self.phone.report(event, sid=self.sid, **facts)
        if event == "failed":
            asyncio.ensure_future(self.end("connectivity-error"))

    # --- describing ourselves -------------------------------------------------------------------------------------

    def offer(self):
        payloads = []
        for name in self.phone.codecs:
            number, rate, channels = CODECS[name]
            extra = {"minptime": "10", "useinbandfec": "1"} if name == "opus" else {}
            payloads.append(J.Payload(number, name, rate, channels, extra))
        if not self.phone.options.no_events:
            payloads.append(J.Payload(EVENTS[1], EVENTS[0], EVENTS[2], 1, {"events": "0-15"}))
        return payloads

    def answer(self):
        """One codec, the first of the offer that we know, and one kind of telephone-event."""
        codecs = {name.lower() for name in self.phone.codecs}
        chosen = next((p for p in self.remote.payloads if p.name.lower() in codecs), None)
        if chosen is None:
            return None
        events = [p for p in self.remote.payloads if p.name.lower() == "telephone-event" and p.rate == 8000]
        return [chosen] + ([] if self.phone.options.no_events else events[:1])

    async def describe(self, action, payloads, setup):
        if self.phone.options.light:
            local, ssrc, candidates = invented(), 1, []
        else:
            self.media = Media(self.outgoing, self.phone.options.tone, self.report)
            await self.media.gather()
            local, ssrc = self.media.local(), self.media.ssrc
            candidates = local[3]
        trickle = self.phone.options.trickle
        role = "initiator" if self.outgoing else "responder"
        out = J.jingle(action, self.sid, **{role: self.phone.boundjid.full})
        creator = "initiator" if self.outgoing else self.remote.creator
        name = self.name if self.outgoing else self.remote.name
        cname = self.phone.boundjid.user
        out.append(J.content(name, creator, payloads, local, ssrc, cname, setup, with_candidates=not trickle))
        if self.outgoing or self.remote.grouped:
            J.group(out, name)
        return out, candidates if trickle else []

    async def trickle(self, candidates):
        for number, found in enumerate(candidates):
            out = J.jingle("transport-info", self.sid)
            creator = "initiator" if self.outgoing else self.remote.creator
            part = ET.SubElement(out, J.tag(J.JINGLE, "content"), {"creator": creator, "name": self.name})
            ufrag, pwd = self.media.local()[:2]
            J.candidate(
                ET.SubElement(part, J.tag(J.ICE, "transport"), {"ufrag": ufrag, "pwd": pwd}), found, number
            )
            await self.phone.iq(self.peer, out)

    # --- what the user does ---------------------------------------------------------------------------------------

    def propose(self):
        out = ET.Element(J.tag(J.JMI, "propose"), {"id": self.sid})
        ET.SubElement(out, J.tag(J.RTP, "description"), {"media": "audio"})
        self.phone.message(self.peer, out)

    async def initiate(self):
        self.stage = "initiated"
        out, later = await self.describe("session-initiate", self.offer(), "actpass")
        error = await self.phone.iq(self.peer, out)
        if error:
            return self.over(error, "peer")
        await self.trickle(later)

    async def accept(self):
        """The user lifts the receiver: proceed, or session-accept where the session is here already."""
        self.wanted = True
        if self.stage == "proposed" and self.jmi:
            self.stage = "proceeded"
            self.phone.message(self.peer, ET.Element(J.tag(J.JMI, "proceed"), {"id": self.sid}))
            self.report("proceeding")
        elif self.stage == "initiated":
            async with self.lock:
                await self.session_accept()

    async def session_accept(self):
        payloads = self.answer()
        if payloads is None:
            return await self.end("failed-application")
        setup = "passive" if self.remote.setup == "active" or self.phone.options.passive else "active"
        self.stage, self.name = "active", self.remote.name
        out, later = await self.describe("session-accept", payloads, setup)
        self.connect(payloads, payloads, "client" if setup == "active" else "server")
        self.report("accepting", codec=payloads[0].name)
        error = await self.phone.iq(self.peer, out)
        if error:
            return self.over(error, "peer")
        await self.trickle(later)

    def connect(self, sending, receiving, role):
        if self.media is None:
            return
        codec = lambda p: codec_of(p.name, p.number, p.rate, p.channels)  # noqa: E731
        received = {p.number: codec(p) for p in [*sending, *receiving]}
        self.task = asyncio.ensure_future(self.open(role, codec(sending[0]), list(received.values())))

    async def open(self, role, sending, receiving):
        for found in [*self.remote.candidates, *self.extra]:
            await self.media.candidate(found)
        await self.media.run(self.remote, role, sending, receiving, self.phone.boundjid.user)

    async def end(self, reason=None):
        """Hangs up, cancels or declines: whatever fits the stage."""
        if self.stage == "ended":
            return
        stage, self.stage = self.stage, "ended"
        if self.jmi and stage in ("proposed", "proceeded"):
            word, reason = ("retract", reason or "cancel") if self.outgoing else ("reject", reason or "busy")
            self.phone.message(self.peer, J.with_reason(ET.Element(J.tag(J.JMI, word), {"id": self.sid}), reason))
        else:
            early = "cancel" if self.outgoing else "decline"
            reason = reason or ("success" if stage == "active" else early)
            await self.phone.iq(self.peer, J.with_reason(J.jingle("session-terminate", self.sid), reason))
            if self.jmi:
                self.finish(reason)
        await self.close(reason, "self")

    def finish(self, reason):
        self.phone.message(self.peer, J.with_reason(ET.Element(J.tag(J.JMI, "finish"), {"id": self.sid}), reason))

    # --- what the peer does ---------------------------------------------------------------------------------------

    async def hear(self, action, element):
        async with self.lock:
            await getattr(self, "on_" + action.replace("-", "_"))(element)

    async def on_session_initiate(self, element):
        try:
            self.remote = J.read(element)
        except J.Malformed as error:
            self.report("malformed", cause=str(error))
            return await self.end("failed-application")
        self.stage = "initiated"
        self.report("initiate", codecs=[p.name for p in self.remote.payloads])
        if self.wanted:
            return await self.session_accept()
        out = J.jingle("session-info", self.sid)
        ET.SubElement(out, J.tag(J.INFO, "ringing"))
        await self.phone.iq(self.peer, out)
        self.phone.rings(self)

    async def on_session_accept(self, element):
        try:
            self.remote = J.read(element)
        except J.Malformed as error:
            self.report("malformed", cause=str(error))
            return await self.end("failed-application")
        known = {name.lower() for name in self.phone.codecs}
        payloads = sorted(self.remote.payloads, key=lambda p: p.name == "telephone-event")
        if not payloads or payloads[0].name.lower() not in known:
            return await self.end("failed-application")
        self.stage = "active"
        self.report("accepted", codecs=[p.name for p in payloads])
        self.connect(payloads, self.offer(), "client" if self.remote.setup == "passive" else "server")

    async def on_session_terminate(self, element):
        reason = J.reason_of(element) or "none"
        if self.jmi and self.stage != "ended":
            self.finish(reason)
        self.stage = "ended"
        await self.close(reason, "peer")

    async def on_transport_info(self, element):
        for part in element.findall(J.tag(J.JINGLE, "content")):
            transport = part.find(J.tag(J.ICE, "transport"))
            for found in J.read_candidates(transport) if transport is not None else ():
                if self.task is not None:
                    await self.media.candidate(found)
                else:
                    self.extra.append(found)

    async def on_session_info(self, element):
        for child in element:
            self.report(child.tag.partition("}")[2])

    async def on_content_modify(self, element):
        for part in element.findall(J.tag(J.JINGLE, "content")):
            self.report("senders", senders=part.get("senders"))

    async def on_content_add(self, element):
        out = J.jingle("content-reject", self.sid)
        for part in element.findall(J.tag(J.JINGLE, "content")):
            facts = {"creator": part.get("creator", "initiator"), "name": part.get("name", "")}
            ET.SubElement(out, J.tag(J.JINGLE, "content"), facts)
        await self.phone.iq(self.peer, J.with_reason(out, "unsupported-applications"))

    async def on_transport_replace(self, element):
        out = J.jingle("transport-reject", self.sid)
        for part in element.findall(J.tag(J.JINGLE, "content")):
            facts = {"creator": part.get("creator", "initiator"), "name": part.get("name", "")}
            ET.SubElement(out, J.tag(J.JINGLE, "content"), facts)
        await self.phone.iq(self.peer, out)

    async def on_ignored(self, element):
        """content-accept, -reject, -remove, description-info…: acknowledged, nothing to do with one content."""

    # --- the end --------------------------------------------------------------------------------------------------

    def over(self, reason, by):
        self.stage = "ended"
        asyncio.ensure_future(self.close(reason, by))

    async def close(self, reason, by):
        if self.phone.calls.pop(self.sid, None) is None:
            return
        self.phone.report("ended", sid=self.sid, reason=reason, by=by)
        if self.media:
            self.phone.report("stats", sid=self.sid, **await self.media.stats())
            await self.media.close()


def invented():
    """A description with nothing behind it, for tests of signalling alone."""
    word = secrets.token_hex(12)
    digest = ":".join(f"{b:02X}" for b in secrets.token_bytes(32))
    return word[:8], word, digest, []
