//! A talker made of numbers, for tests and figures: the same at every run.

/// Voiced pieces of changing pitch with three formants, and hissing ones, as loud as a talker.
#[must_use]
pub fn speech(rate: usize, seconds: usize) -> Vec<i16> {
    let (mut word, mut phase) = (7u32, 0.0f64);
    let mut rings = [[0.0f64; 2]; 3];
    let mut out = vec![];
    for n in 0..rate * seconds {
        let piece = n * 5 / rate;
        let pitch = 110.0 + 40.0 * ((piece * 37 % 7) as f64 / 7.0);
        phase += pitch / rate as f64;
        word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let hiss = f64::from(word >> 8) / 8_388_608.0 - 1.0;
        let voiced = piece % 4 != 3;
        let push = if !voiced {
            hiss * 0.2
        } else if phase >= 1.0 {
            phase -= 1.0;
            1.0
        } else {
            hiss * 0.01
        };
        phase %= 1.0;
        let formants = [300.0 + 100.0 * (piece % 5) as f64, 1_000.0 + 200.0 * (piece % 4) as f64, 2_500.0];
        let mut sound = 0.0;
        for (ring, hz) in rings.iter_mut().zip(formants) {
            let (radius, angle) = (0.97f64, std::f64::consts::TAU * hz / rate as f64);
            let next = push + 2.0 * radius * angle.cos() * ring[0] - radius * radius * ring[1];
            *ring = [next, ring[0]];
            sound += next;
        }
        out.push((sound * 1_800.0).clamp(-30_000.0, 30_000.0) as i16);
    }
    out
}
