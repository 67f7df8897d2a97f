"""One audio stream over ICE, DTLS and SRTP, on aiortc's own objects; no SDP anywhere."""

import asyncio
import fractions
import time
from array import array
from collections import deque

import aioice.ice
from aiortc import RTCCertificate, RTCIceGatherer, RTCIceTransport, RTCDtlsTransport, RTCRtpReceiver, RTCRtpSender
from aiortc import RTCDtlsFingerprint, RTCDtlsParameters, RTCIceCandidate, RTCIceParameters, RTCRtpCodecParameters
from aiortc.codecs import get_encoder
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtcrtpparameters import RTCRtcpParameters, RTCRtpReceiveParameters, RTCRtpSendParameters
from aiortc.rtcrtpreceiver import RemoteStreamTrack
from av import AudioFrame

from tone import Ear, Voice

# name -> (payload type that we offer, clock rate, channels)
CODECS = {"opus": (111, 48000, 2), "G722": (9, 8000, 1), "PCMU": (0, 8000, 1), "PCMA": (8, 8000, 1)}
EVENTS = ("telephone-event", 101, 8000)
DIGITS = "0123456789*#ABCD"


def use_address(address):
    """Gather on this address alone: by itself the ICE agent leaves out loopback."""
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [address]


class Tone(MediaStreamTrack):
    """20 ms frames of a sine tone, paced by the clock."""

    kind = "audio"

    def __init__(self, hz, rate):
        super().__init__()
        self.voice, self.rate, self.count = Voice(hz, rate), rate, rate // 50
        self.sent, self.began, self.mute = 0, None, False

    async def recv(self):
        if self.readyState != "live":
            raise MediaStreamError
        self.began = self.began or time.monotonic()
        await asyncio.sleep(max(0, self.began + self.sent * 0.02 - time.monotonic()))
        frame = AudioFrame(format="s16", layout="mono", samples=self.count)
        samples = self.voice.samples(self.count)
        frame.planes[0].update((array("h", bytes(2 * self.count)) if self.mute else samples).tobytes())
        frame.sample_rate, frame.time_base = self.rate, fractions.Fraction(1, self.rate)
        frame.pts = self.sent * self.count
        self.sent += 1
        return frame


def codec_of(name, number, rate, channels):
    return RTCRtpCodecParameters(
        mimeType=f"audio/{name}", clockRate=rate, channels=channels, payloadType=number, parameters={}
    )


class Keys:
    """Stands before the encoder: while a key is down its events (RFC 4733) go out instead of the sound."""

    FRAMES, GAP = 5, 3

    def __init__(self, encoder, codec, number):
        self.encoder, self.codec, self.number, self.sound = encoder, codec, number, codec.payloadType
        self.waiting, self.frame, self.stamp = [], 0, 0

    def encode(self, frame, force_keyframe=False):
        payloads, stamp = self.encoder.encode(frame, force_keyframe)
        self.codec.payloadType = self.sound
        if not self.waiting:
            return payloads, stamp
        self.frame += 1
        if self.frame == 1:
            self.stamp = stamp
        if self.frame > self.FRAMES:
            if self.frame >= self.FRAMES + self.GAP:
                self.waiting, self.frame = self.waiting[1:], 0
            return payloads, stamp
        ends = self.frame == self.FRAMES
        self.codec.payloadType = self.number
        event = bytes([DIGITS.index(self.waiting[0]), (0x80 if ends else 0) | 10])
        event += (160 * self.frame).to_bytes(2, "big")
        # The last one three times, in case one is lost (RFC 4733 section 2.5.1.4).
        return [event] * (3 if ends else 1), self.stamp


class Media:
    """`report(event, **facts)` is called as things happen."""

    def __init__(self, offering, tone_hz, report):
        self.report, self.tone_hz = report, tone_hz
        self.gatherer = RTCIceGatherer(iceServers=[])
        self.ice = RTCIceTransport(self.gatherer)
        self.ice._connection.ice_controlling = offering
        self.ice._role_set = True
        self.dtls = RTCDtlsTransport(self.ice, [RTCCertificate.generateCertificate()])
        self.sender, self.receiver = RTCRtpSender("audio", self.dtls), RTCRtpReceiver("audio", self.dtls)
        self.receiver._track = RemoteStreamTrack("audio")
        self.ssrc = self.sender._ssrc
        # As aiortc's own peer connection does: without a name a receiver reports nothing.
        self.receiver._set_rtcp_ssrc(self.ssrc)
        self.track, self.codec, self.tasks, self.closed = None, None, [], False
        self.stamp, self.keys, self.events = None, None, 0
        self.arrived, self.pauses = None, deque(maxlen=10_000)

    async def gather(self):
        await self.gatherer.gather()

    def local(self):
        """(ufrag, pwd, fingerprint, candidates)"""
        ice = self.gatherer.getLocalParameters()
        digests = self.dtls.getLocalParameters().fingerprints
        digest = next(f for f in digests if f.algorithm == "sha-256")
        return ice.usernameFragment, ice.password, digest.value, self.gatherer.getLocalCandidates()

    async def candidate(self, facts):
        await self.ice.addRemoteCandidate(RTCIceCandidate(**facts))

    async def run(self, remote, dtls_role, sending, receiving, cname):
        """Connects and starts sound. `sending`: the codec; `receiving`: all codecs that may come."""
        try:
            async with asyncio.timeout(20):
                await self.ice.start(RTCIceParameters(usernameFragment=remote.ufrag, password=remote.pwd))
                if self.ice.state != "completed":
                    raise ConnectionError("no candidate pair works")
                self.report("ice", role=self.ice.role)
                self.dtls._set_role(dtls_role)
                prints = [RTCDtlsFingerprint(algorithm=h, value=v) for h, v in remote.fingerprints]
                await self.dtls.start(RTCDtlsParameters(fingerprints=prints))
                if self.dtls.state != "connected":
                    raise ConnectionError("the DTLS handshake failed")
        except (TimeoutError, ConnectionError) as error:
            if not self.closed:
                self.report("failed", cause=f"media: {error or 'no connection in 20 s'}")
            return
        if self.closed:
            return
        self.codec = sending
        profile = self.dtls._ssl.get_selected_srtp_profile().decode()
        self.track = Tone(self.tone_hz, 48000 if sending.name.lower() == "opus" else 8000)
        self.sender.replaceTrack(self.track)
        self._spy()
        events = [c.payloadType for c in receiving if c.name == "telephone-event"]
        if events:
            self.keys = Keys(get_encoder(sending), sending, events[0])
            self.sender._RTCRtpSender__encoder = self.keys
        await self.sender.send(RTCRtpSendParameters(codecs=[sending], rtcp=RTCRtcpParameters(cname=cname, mux=True)))
        await self.receiver.receive(RTCRtpReceiveParameters(codecs=receiving))
        self.tasks.append(asyncio.ensure_future(self._listen()))
        self.report("connected", codec=sending.name, dtls=dtls_role, srtp=profile)

    def _spy(self):
        """Takes digits (RFC 4733) out before the decoder, and notes what comes first."""
        onward, heard = self.receiver._handle_rtp_packet, set()

        async def packet(packet, arrival_time_ms):
            codec = self.receiver._RTCRtpReceiver__codecs.get(packet.payload_type)
            if codec and codec.name == "telephone-event":
                self.events += 1
                if len(packet.payload) >= 4 and packet.timestamp != self.stamp and packet.payload[0] < len(DIGITS):
                    self.stamp = packet.timestamp
                    self.report("dtmf", digit=DIGITS[packet.payload[0]])
                return
            if codec and packet.payload_type not in heard:
                heard.add(packet.payload_type)
                self.report("rtp", codec=codec.name, ssrc=packet.ssrc)
            self.pauses.append(arrival_time_ms - self.arrived if self.arrived else 0)
            self.arrived = arrival_time_ms
            await onward(packet, arrival_time_ms=arrival_time_ms)

        self.receiver._handle_rtp_packet = packet

    async def _listen(self):
        ear = Ear(lambda hz, seconds, share, rms: self.report("tone", hz=hz, seconds=seconds, share=share, rms=rms))
        try:
            while True:
                frame = await self.receiver.track.recv()
                count, channels = frame.samples, len(frame.layout.channels)
                if frame.format.is_planar:
                    samples = array("h", bytes(frame.planes[0])[: 2 * count])
                else:
                    samples = array("h", bytes(frame.planes[0])[: 2 * count * channels])[::channels]
                ear.listen(samples, frame.sample_rate)
        except MediaStreamError:
            pass

    def press(self, digits):
        """True when the keys can be sent."""
        if self.keys is None or any(d not in DIGITS for d in digits):
            return False
        self.keys.waiting = [*self.keys.waiting, *digits]
        return True

    def gap(self):
        """The longest time between two packets since it was last asked, in ms."""
        longest, self.pauses = max(self.pauses, default=0), deque(maxlen=10_000)
        return longest

    async def stats(self):
        """Packets, loss and jitter (in ms) of both ways; the far end's view of ours comes from its RTCP reports."""
        facts = {"codec": self.codec.name if self.codec else None, "sent": 0, "packets": 0, "lost": 0, "jitter": 0.0}
        if not self.codec:
            return facts
        clock = self.codec.clockRate / 1000
        for report in (await self.receiver.getStats()).values():
            if report.type == "inbound-rtp":
                # aiortc takes the events that were taken out before it for lost.
                facts["packets"] += report.packetsReceived + self.events
                facts["lost"] += max(0, report.packetsLost - self.events)
                facts["jitter"] = max(facts["jitter"], round(report.jitter / clock, 2))
        for report in (await self.sender.getStats()).values():
            if report.type == "outbound-rtp":
                facts["sent"] = report.packetsSent
            elif report.type == "remote-inbound-rtp":
                facts["far_lost"], facts["far_jitter"] = report.packetsLost, round(report.jitter / clock, 2)
                if report.roundTripTime is not None:
                    facts["rtt"] = round(report.roundTripTime * 1000, 2)
        return facts

    async def close(self):
        if self.closed:
            return
        self.closed = True
        if self.track:
            self.track.stop()
        for task in self.tasks:
            task.cancel()
        for part in (self.sender, self.receiver, self.dtls, self.ice):
            try:
                await asyncio.wait_for(part.stop(), 2)
            except Exception:  # closing goes on whatever one part says
                pass
