// A party in a browser: it does what the test orders (GET /order) and tells what happens (POST /event).
"use strict";

const LOUD = 0.01;
// Lives in the audio thread: the pitch of what is heard, four times a second, and the longest silence, to 3 ms.
const EAR = `registerProcessor("ear", class extends AudioWorkletProcessor {
  constructor() {
    super();
    [this.window, this.quiet, this.longest] = [[], 0, 0];
    this.port.onmessage = () => {
      this.port.postMessage({ gap: Math.max(this.longest, this.quiet) * 1000 / sampleRate });
      [this.quiet, this.longest] = [0, 0];
    };
  }
  process([[samples = new Float32Array(128)]]) {
    const loud = samples.some(s => Math.abs(s) > ${LOUD});
    this.quiet = loud ? 0 : this.quiet + samples.length;
    this.longest = Math.max(this.longest, this.quiet);
    this.window.push(...samples);
    if (this.window.length >= sampleRate / 4) {
      this.port.postMessage({ heard: this.window });
      this.window = [];
    }
    return true;
  }
})`;

let events = Promise.resolve();
// One after the other, so that they come in their order.
function tell(event, call, facts = {}) {
  const body = JSON.stringify({ event, call, ...facts });
  events = events.then(() => fetch("/event", { method: "POST", body })).catch(() => {});
}

const calls = new Map();
let sound;

function pitch(samples) {
  const energy = samples.reduce((sum, s) => sum + s * s, 0);
  const rms = Math.sqrt(energy / samples.length);
  const rising = [];
  for (let i = 1; i < samples.length; i++) {
    const [a, b] = [samples[i - 1], samples[i]];
    if (a < 0 && b >= 0) rising.push(i - 1 + a / (a - b));
  }
  if (rms < LOUD || rising.length < 2) return { hz: 0, share: 0, rms };
  const hz = (rising.length - 1) * sound.sampleRate / (rising.at(-1) - rising[0]);
  // Goertzel's filter: the energy at one frequency.
  const turn = 2 * Math.cos(2 * Math.PI * hz / sound.sampleRate);
  let [s1, s2] = [0, 0];
  for (const s of samples) [s1, s2] = [s + turn * s1 - s2, s1];
  const power = s1 * s1 + s2 * s2 - turn * s1 * s2;
  return { hz, share: Math.min(1, 2 * power / (samples.length * energy)), rms };
}

function tone(hz) {
  const [voice, out] = [sound.createOscillator(), sound.createMediaStreamDestination()];
  voice.frequency.value = hz;
  voice.connect(out);
  voice.start();
  return out.stream.getAudioTracks()[0];
}

function listen(call, name, track) {
  const stream = new MediaStream([track]);
  // Chromium moves what comes only for an element that plays it.
  call.player = new Audio();
  Object.assign(call.player, { muted: true, srcObject: stream });
  call.player.play();
  call.ear = new AudioWorkletNode(sound, "ear");
  call.ear.port.onmessage = ({ data }) => {
    if (data.heard) return tell("heard", name, pitch(data.heard));
    const now = performance.now();
    tell("gap", name, { ms: data.gap, unseen: Math.max(call.unseen, now - call.seen) });
    [call.unseen, call.seen] = [0, call.seen && now];
  };
  sound.createMediaStreamSource(stream).connect(call.ear).connect(sound.destination);
}

const [WIDTH, HEIGHT] = [320, 240];
// A picture in one colour, with a bar that moves.
function paint(brush, colour, number) {
  brush.fillStyle = colour;
  brush.fillRect(0, 0, WIDTH, HEIGHT);
  brush.fillStyle = "#fff";
  brush.fillRect(number * 8 % WIDTH, HEIGHT - 40, 16, 40);
}

function picture(colour) {
  const canvas = Object.assign(document.createElement("canvas"), { width: WIDTH, height: HEIGHT });
  const brush = canvas.getContext("2d");
  let number = 0;
  setInterval(() => paint(brush, colour, number++), 50);
  const [track] = canvas.captureStream(20).getVideoTracks();
  // Rather fewer pictures than smaller ones.
  track.contentHint = "detail";
  return track;
}

const glass = new OffscreenCanvas(16, 12).getContext("2d", { willReadFrequently: true });
// The mean colour of the upper half, for the bar is below.
function look(frame) {
  glass.drawImage(frame, 0, 0, 16, 12);
  const { data } = glass.getImageData(0, 0, 16, 6);
  const colour = [0, 1, 2].map(part => Math.round(data.filter((_, i) => i % 4 === part).reduce((a, b) => a + b) / 96));
  return { colour, size: [frame.displayWidth, frame.displayHeight] };
}

async function watch(call, name, track) {
  const pictures = new MediaStreamTrackProcessor({ track }).readable.getReader();
  for (let number = 0; ; number++) {
    const { done, value: frame } = await pictures.read();
    if (done) return;
    const now = performance.now();
    if (call.seen) call.unseen = Math.max(call.unseen, now - call.seen);
    call.seen = now;
    if (number % 4 === 0) tell("seen", name, look(frame));
    frame.close();
  }
}

const hex = octets => Array.from(octets, octet => octet.toString(16).padStart(2, "0")).join("");
const unhex = text => Uint8Array.from(text.match(/../g), pair => parseInt(pair, 16));

// Describes itself with all its candidates; `null` is the last one, of a restart too.
async function described(pc) {
  const last = new Promise(done => pc.onicecandidate = ({ candidate }) => candidate || done());
  await pc.setLocalDescription();
  await Promise.race([last, new Promise(late => setTimeout(late, 3000))]);
  return pc.localDescription.sdp;
}

const RSA = { name: "RSASSA-PKCS1-v1_5", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" };
const EC = { name: "ECDSA", namedCurve: "P-256" };

const orders = {
  async open({ call: name, hz, certificate, offer, colour, bundled }) {
    const certificates = [await RTCPeerConnection.generateCertificate(certificate === "rsa" ? RSA : EC)];
    const pc = new RTCPeerConnection({ certificates, bundlePolicy: bundled ? "max-bundle" : "max-compat" });
    const call = { pc, unseen: 0 };
    calls.set(name, call);
    pc.ontrack = ({ track }) => (track.kind === "audio" ? listen : watch)(call, name, track);
    pc.onconnectionstatechange = () => tell("state", name, { state: pc.connectionState });
    pc.oniceconnectionstatechange = () => tell("ice", name, { state: pc.iceConnectionState });
    pc.addTrack(tone(hz));
    if (colour) pc.addTrack(picture(colour));
    if (offer) await pc.setRemoteDescription({ type: "offer", sdp: offer });
    tell("described", name, { sdp: await described(pc) });
  },
  async meet({ call, sdp }) {
    await calls.get(call).pc.setRemoteDescription({ type: "answer", sdp });
    tell("met", call);
  },
  async candidate({ call, mid, candidate }) {
    await calls.get(call).pc.addIceCandidate({ sdpMid: mid, candidate });
    tell("added", call);
  },
  async restart({ call }) {
    const { pc } = calls.get(call);
    pc.restartIce();
    tell("described", call, { sdp: await described(pc) });
  },
  // A film as a phone's camera would send it: one key frame, then what changes.
  async film({ call, colour, pictures }) {
    const brush = new OffscreenCanvas(WIDTH, HEIGHT).getContext("2d");
    const film = [];
    const encoder = new VideoEncoder({
      output: chunk => {
        const octets = new Uint8Array(chunk.byteLength);
        chunk.copyTo(octets);
        film.push(hex(octets));
      },
      error: error => tell("fault", call, { order: "film", error: `${error}` }),
    });
    encoder.configure({ codec: "vp8", width: WIDTH, height: HEIGHT, bitrate: 200000, framerate: 20 });
    for (let number = 0; number < pictures; number++) {
      paint(brush, colour, number);
      const frame = new VideoFrame(brush.canvas, { timestamp: number * 50000 });
      encoder.encode(frame, { keyFrame: number === 0 });
      frame.close();
    }
    await encoder.flush();
    encoder.close();
    tell("film", call, { film });
  },
  // Looks at a key frame that came elsewhere.
  async develop({ call, picture }) {
    const decoder = new VideoDecoder({
      output: frame => {
        tell("developed", call, look(frame));
        frame.close();
      },
      error: error => tell("fault", call, { order: "develop", error: `${error}` }),
    });
    decoder.configure({ codec: "vp8" });
    decoder.decode(new EncodedVideoChunk({ type: "key", timestamp: 0, data: unhex(picture) }));
    await decoder.flush();
    decoder.close();
  },
  async gap({ call }) {
    calls.get(call).ear.port.postMessage("gap");
  },
  async figures({ call }) {
    const report = [...(await calls.get(call).pc.getStats()).values()];
    const of = type => report.filter(entry => entry.type === type);
    tell("figures", call, {
      transports: of("transport"), inbound: of("inbound-rtp"), outbound: of("outbound-rtp"),
      pairs: of("candidate-pair"), remotes: of("remote-candidate"), locals: of("local-candidate"),
    });
  },
};

window.onload = async () => {
  try {
    sound = new AudioContext();
    await sound.audioWorklet.addModule(URL.createObjectURL(new Blob([EAR], { type: "text/javascript" })));
    // Whoever may hear the microphone may show the addresses of this host (mDNS otherwise).
    if (location.search === "?hosts") await navigator.mediaDevices.getUserMedia({ audio: true });
    tell("ready", "", { agent: navigator.userAgent });
    for (;;) {
      const answer = await fetch("/order");
      if (answer.status !== 200) continue;
      const order = await answer.json();
      orders[order.do](order).catch(error => tell("fault", order.call, { order: order.do, error: `${error}` }));
    }
  } catch (error) {
    tell("fault", "", { order: "begin", error: `${error}` });
  }
};
