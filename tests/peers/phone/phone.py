#!/usr/bin/env python3
"""A Jingle phone without a face: commands come as JSON lines on standard input, events go out on standard output.

Commands: {"do": "call", "to": JID, "mode": "jmi"|"direct"}, accept, reject [reason], hangup [reason], hold, unhold, mute,
unmute, dtmf DIGITS, stats, gap (the longest time between packets since it was last asked), ping TO,
command TO NODE [fields] (an ad-hoc command, with the form filled in), say TO BODY (a chat message), auto AFTER (answer by
itself after so many seconds, null = not), raw XML, quit; each may name a "sid", else the newest call is meant. Every event
has "event" and "t" (Unix time in seconds). It is a test program: its XMPP is slixmpp's, its ICE, DTLS, SRTP and codecs are
aiortc's; what lies between (jingle.py, call.py) is its own and shares nothing with the gateway that it tests.
"""

import argparse
import asyncio
import json
import logging
import sys
import time
import uuid
from xml.etree import ElementTree as ET

from slixmpp import ClientXMPP, JID
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.xmlstream.handler import Callback, CoroutineCallback
from slixmpp.xmlstream.matcher import MatchXPath

import jingle as J
from call import Call
from media import CODECS, use_address

ACTIONS = {
    "session-initiate", "session-accept", "session-terminate", "session-info", "transport-info", "content-modify",
    "content-add", "transport-replace",
}  # fmt: skip
QUIET = {
    "content-accept", "content-reject", "content-remove", "description-info", "transport-accept", "transport-reject",
}  # fmt: skip


class Phone(ClientXMPP):
    def __init__(self, options):
        super().__init__(JID(f"{options.jid}/{options.resource}"), options.password)
        self.options, self.calls = options, {}
        self.codecs = [c.strip() for c in options.codecs.split(",")]
        unknown = [c for c in self.codecs if c not in CODECS]
        if unknown:
            sys.exit(f"--codecs: {', '.join(unknown)} is not one of {', '.join(CODECS)}")
        # The test server is on loopback and has no certificate.
        self.enable_direct_tls = self.enable_starttls = False
        self.enable_plaintext = True
        self["feature_mechanisms"].unencrypted_scram = True
        for plugin in ("xep_0030", "xep_0004", "xep_0050"):
            self.register_plugin(plugin)
        self.register_plugin("xep_0115")
        self.register_plugin("xep_0199")
        for feature in J.FEATURES:
            self["xep_0030"].add_feature(feature)
        self["xep_0030"].add_identity("client", "pc", name="test phone")
        self.add_event_handler("session_start", self.started)
        self.add_event_handler("failed_all_auth", lambda _: self.fail("the server refused the password"))
        self.add_event_handler("disconnected", lambda _: self.fail("the server closed the connection"))
        self.register_handler(
            CoroutineCallback("jingle", MatchXPath(f"{{jabber:client}}iq/{{{J.JINGLE}}}jingle"), self.on_jingle)
        )
        self.register_handler(Callback("messages", MatchXPath("{jabber:client}message"), self.on_message))
        if options.stanzas:
            for way in ("in", "out"):
                self.add_filter(way, lambda stanza, way=way: self.log(way, stanza))

    # --- reporting and sending ------------------------------------------------------------------------------------

    def report(self, event, **facts):
        print(json.dumps({"event": event, "t": round(time.time(), 4), **facts}), flush=True)

    def log(self, way, stanza):
        text = str(stanza)
        if "urn:xmpp:jingle" in text and "disco#info" not in text:
            print(f"<!-- {way} {time.time():.3f} --> {text}", file=sys.stderr, flush=True)
        return stanza

    def fail(self, cause):
        if not self.leaving:
            self.report("failed", cause=cause)
            self.leaving = True
            self.stop.set()

    async def iq(self, to, payload):
        """Sends and waits for the answer; the error's condition where it is one."""
        iq = self.make_iq_set(ito=to)
        iq.xml.append(payload)
        try:
            await iq.send(timeout=10)
            return None
        except IqError as error:
            condition = error.iq["error"]["condition"]
            self.report("refused", action=payload.get("action"), condition=condition)
            return condition
        except IqTimeout:
            self.report("refused", action=payload.get("action"), condition="no answer")
            return "no answer"

    async def command(self, to, node, fields):
        """Runs an ad-hoc command by slixmpp's own forms; reports the form as shown, and how the command ended."""
        try:
            shown = (await self["xep_0050"].send_command(to, node, timeout=10))["command"]
            if shown["status"] == "executing":
                values = shown["form"].get_values()
                self.report("form", title=shown["form"]["title"], values=values)
                form = self["xep_0004"].make_form("submit")
                for name, value in {**values, **(fields or {})}.items():
                    form.add_field(var=name, value=value)
                session = shown["sessionid"]
                sent = self["xep_0050"].send_command(
                    to, node, action="complete", payload=form, sessionid=session, timeout=10
                )
                shown = (await sent)["command"]
            notes = [list(note) for note in shown["notes"]]
            self.report("commanded", node=node, status=shown["status"], notes=notes)
        except (IqError, IqTimeout) as error:
            self.report("commanded", node=node, status="error", notes=[["error", error.iq["error"]["condition"]]])

    def message(self, to, payload):
        message = self.make_message(mto=to, mtype="chat")
        message["id"] = uuid.uuid4().hex
        message.xml.append(payload)
        message.xml.append(ET.Element("{urn:xmpp:hints}store"))
        message.send()

    # --- stanzas --------------------------------------------------------------------------------------------------

    async def started(self, _):
        carbons = self.make_iq_set()
        carbons.xml.append(ET.Element("{urn:xmpp:carbons:2}enable"))
        try:
            await carbons.send(timeout=5)
        except (IqError, IqTimeout):
            pass  # a server without carbons serves as well
        self.send_presence()
        await self.get_roster()
        self.report("registered", jid=str(self.boundjid))

    def refuse(self, iq, kind, condition, jingle=None):
        out = iq.reply()
        out["type"] = "error"
        error = ET.SubElement(out.xml, "{jabber:client}error", {"type": kind})
        ET.SubElement(error, J.tag(J.STANZAS, condition))
        if jingle:
            ET.SubElement(error, J.tag(J.ERRORS, jingle))
        out.send()

    async def on_jingle(self, iq):
        if iq["type"] != "set":
            return
        element = iq.xml.find(J.tag(J.JINGLE, "jingle"))
        action, sid, peer = element.get("action"), element.get("sid"), iq["from"]
        call = self.calls.get(sid)
        if action == "session-initiate":
            if call and (call.stage not in ("proposed", "proceeded") or call.outgoing or call.peer.bare != peer.bare):
                return self.refuse(iq, "wait", "unexpected-request", "out-of-order")
            if call is None:
                call = self.calls[sid] = Call(self, sid, peer, outgoing=False, jmi=False)
            call.peer = peer
        elif call is None or call.peer != peer:
            return self.refuse(iq, "cancel", "item-not-found", "unknown-session")
        if action == "session-accept" and not (call.outgoing and call.stage == "initiated"):
            return self.refuse(iq, "wait", "unexpected-request", "out-of-order")
        known = all(child.tag.startswith(f"{{{J.INFO}}}") for child in element)
        if action == "session-info" and not known:
            return self.refuse(iq, "modify", "feature-not-implemented", "unsupported-info")
        if action not in ACTIONS | QUIET:
            return self.refuse(iq, "cancel", "feature-not-implemented" if action == "security-info" else "bad-request")
        iq.reply().send()
        await call.hear(action if action in ACTIONS else "ignored", element)

    def on_message(self, message):
        carbon = message.xml.find("{urn:xmpp:carbons:2}sent")
        if carbon is not None and message["from"].bare == self.boundjid.bare:
            inner = carbon.find("{urn:xmpp:forward:0}forwarded/{jabber:client}message")
            return self.elsewhere(inner) if inner is not None else None
        # A stored message is history: its call is long over (measured: propose and retract come together at log-in).
        if message.xml.find("{urn:xmpp:delay}delay") is not None or message["type"] == "error":
            if message["type"] == "error":
                self.bounced(message)
            return None
        if message["body"]:
            self.report("said", peer=str(message["from"]), body=message["body"])
        for child in message.xml:
            if child.tag.startswith(f"{{{J.JMI}}}"):
                self.on_jmi(child.tag.partition("}")[2], child, message["from"])

    def on_jmi(self, word, element, peer):
        sid = element.get("id")
        call = self.calls.get(sid)
        if word == "propose" and call is None and peer.bare != self.boundjid.bare:
            call = self.calls[sid] = Call(self, sid, peer, outgoing=False, jmi=True)
            self.report("propose", sid=sid, peer=str(peer))
            if not self.options.silent:
                self.message(peer, ET.Element(J.tag(J.JMI, "ringing"), {"id": sid}))
            self.rings(call)
        elif call is None or not call.jmi or call.peer.bare != peer.bare:
            return
        elif word == "ringing" and call.outgoing:
            self.report("ringing", sid=sid)
        elif word == "proceed" and call.outgoing and call.stage == "proposed":
            call.peer = peer
            self.report("proceed", sid=sid, peer=str(peer))
            asyncio.ensure_future(call.initiate())
        elif word in ("reject", "retract") and call.stage in ("proposed", "proceeded"):
            call.over(J.reason_of(element) or word, "peer")
        elif word == "finish":
            self.report("finish", sid=sid, reason=J.reason_of(element))

    def elsewhere(self, message):
        """Another device of this user answered or declined."""
        for child in message:
            word, call = child.tag.partition("}")[2], self.calls.get(child.get("id"))
            mine = message.get("from") == str(self.boundjid)
            if child.tag.startswith(f"{{{J.JMI}}}") and word in ("proceed", "reject") and call and not mine:
                call.over("answered elsewhere" if word == "proceed" else "declined elsewhere", "self")

    def bounced(self, message):
        for child in message.xml:
            call = self.calls.get(child.get("id"))
            if child.tag.startswith(f"{{{J.JMI}}}") and call and call.stage == "proposed":
                call.over(message["error"]["condition"], "peer")

    def rings(self, call):
        if self.options.auto is not None:
            self.loop.call_later(self.options.auto, lambda: asyncio.ensure_future(call.accept()))

    # --- commands -------------------------------------------------------------------------------------------------

    async def obey(self, order):
        word = order.get("do")
        if word == "call":
            peer, jmi, sid = JID(order["to"]), order.get("mode", "jmi") == "jmi", str(uuid.uuid4())
            call = self.calls[sid] = Call(self, sid, peer, outgoing=True, jmi=jmi)
            self.report("calling", sid=sid, peer=str(peer))
            # Strangers' servers and gateways learn from it what this client can do (XEP-0353 §3).
            self.send_presence(pto=peer.bare)
            return call.propose() if jmi else await call.initiate()
        if word == "quit":
            return await self.leave()
        if word == "auto":
            self.options.auto = order.get("after")
            return
        if word == "raw":
            return self.send_raw(order["xml"])
        if word == "command":
            return await self.command(JID(order["to"]), order["node"], order.get("fields"))
        if word == "say":
            return self.send_message(mto=order["to"], mbody=order["body"], mtype="chat")
        if word == "ping":
            return self.report("pong", error=await self.iq(JID(order["to"]), ET.Element("{urn:xmpp:ping}ping")))
        sid = order.get("sid") or next(reversed(self.calls), None)
        call = self.calls.get(sid)
        if call is None:
            return self.report("error", cause=f"{word}: there is no call {sid or ''}".rstrip())
        if word == "accept":
            await call.accept()
        elif word in ("reject", "hangup"):
            await call.end(order.get("reason"))
        elif word in ("hold", "unhold", "active"):
            out = J.jingle("session-info", call.sid)
            ET.SubElement(out, J.tag(J.INFO, word))
            await self.iq(call.peer, out)
        elif word == "transfer":
            out = J.jingle("session-info", call.sid)
            ET.SubElement(out, "{urn:xmpp:jingle:transfer:0}transfer", {"to": order["to"]})
            await self.iq(call.peer, out)
        elif word in ("mute", "unmute") and call.media and call.media.track:
            call.media.track.mute = word == "mute"
        elif word == "dtmf" and call.media and call.media.press(order.get("digits", "")):
            pass
        elif word == "stats" and call.media:
            self.report("stats", sid=call.sid, **await call.media.stats())
        elif word == "gap" and call.media:
            self.report("gap", sid=call.sid, ms=call.media.gap())
        else:
            self.report("error", cause=f"{word}: not known, or not in this state")

    async def leave(self):
        for call in list(self.calls.values()):
            await call.end()
        self.leaving = True
        self.stop.set()

    async def commands(self):
        reader = asyncio.StreamReader()
        await self.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            try:
                order = json.loads(line)
            except ValueError:
                self.report("error", cause="a command is one line of JSON")
                continue
            asyncio.ensure_future(self.obey(order))
        await self.leave()

    async def run(self):
        self.leaving, self.stop = False, asyncio.Event()
        self.connect(self.options.host, self.options.port)
        reading = asyncio.ensure_future(self.commands())
        await self.stop.wait()
        reading.cancel()
        try:
            await asyncio.wait_for(self.disconnect(wait=1), 3)
        except (TimeoutError, asyncio.CancelledError):
            pass


def options():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jid", required=True, help="user@domain")
    parser.add_argument("--password", required=True)
    parser.add_argument("--resource", default="phone")
    parser.add_argument("--host", default="127.0.0.1", help="the XMPP server")
    parser.add_argument("--port", type=int, default=5222)
    parser.add_argument("--address", default="127.0.0.1", help="the address that media uses")
    parser.add_argument("--codecs", default="opus,PCMU,PCMA", help="in order of preference")
    parser.add_argument("--tone", type=float, default=440.0, help="Hz to send")
    parser.add_argument("--auto", type=float, default=None, metavar="SECONDS", help="answer by itself after so long")
    parser.add_argument("--trickle", action="store_true", help="send candidates one by one")
    parser.add_argument("--passive", action="store_true", help="answer as DTLS server")
    parser.add_argument("--no-events", action="store_true", help="no telephone-event")
    parser.add_argument("--silent", action="store_true", help="send no JMI ringing, as some clients do")
    parser.add_argument("--light", action="store_true", help="signalling only, nothing behind the descriptions")
    parser.add_argument("--stanzas", action="store_true", help="write Jingle stanzas to standard error")
    return parser.parse_args()


def main():
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    chosen = options()
    use_address(chosen.address)

    async def phone():
        await Phone(chosen).run()

    try:
        asyncio.run(phone())
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
