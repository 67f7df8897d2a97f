"""A sine tone to send, and an ear that names the tone it hears. Samples are signed 16 bit, one channel."""

import math
from array import array


class Voice:
    """An endless sine tone, cut into frames."""

    def __init__(self, hz, rate, level=8000):
        self.step = 2 * math.pi * hz / rate
        self.level = level
        self.at = 0

    def samples(self, count):
        out = array("h", (int(self.level * math.sin(self.step * (self.at + i))) for i in range(count)))
        self.at += count
        return out


def measure(samples, rate):
    """(hz, share, rms): the pitch by zero crossings, and how much of the energy lies at that pitch (Goertzel)."""
    count = len(samples)
    rms = math.sqrt(sum(s * s for s in samples) / count) if count else 0.0
    if rms < 50:
        return 0.0, 0.0, rms
    first = last = None
    crossings = 0
    for i in range(1, count):
        a, b = samples[i - 1], samples[i]
        if a < 0 <= b:
            last = i - 1 + a / (a - b)
            if first is None:
                first = last
            else:
                crossings += 1
    if not crossings:
        return 0.0, 0.0, rms
    hz = crossings * rate / (last - first)
    turn = 2 * math.cos(2 * math.pi * hz / rate)
    before = earlier = 0.0
    for sample in samples:
        before, earlier = sample + turn * before - earlier, before
    power = before * before + earlier * earlier - turn * before * earlier
    return hz, min(1.0, 2 * power / (count * count) / (rms * rms)), rms


class Ear:
    """Collects samples and says, twice a second, which tone they hold."""

    WINDOW = 0.5

    def __init__(self, heard):
        self.heard = heard
        self.rate = 0
        self.buffer = array("h")
        self.hz = 0
        self.seconds = 0.0

    def listen(self, samples, rate):
        if rate != self.rate:
            self.rate, self.buffer = rate, array("h")
        self.buffer.extend(samples)
        size = int(rate * self.WINDOW)
        while len(self.buffer) >= size:
            window, self.buffer = self.buffer[:size], self.buffer[size:]
            # Every third sample of 48 kHz is plenty for a tone below 3.4 kHz and three times cheaper.
            thin = 3 if rate > 16000 else 1
            hz, share, rms = measure(window[::thin], rate // thin)
            known = share > 0.8
            if known and abs(hz - self.hz) < 10:
                self.seconds += self.WINDOW
            else:
                self.hz, self.seconds = (hz, self.WINDOW) if known else (0, 0.0)
            self.heard(round(hz, 1) if known else 0, self.seconds, round(share, 2), round(rms))
