//! How much is in hand, at the least, over the last second or two.

use super::{SPARE_LEAST, SPARE_MOST};

/// Frames of a window: a second.
const WINDOW: u32 = 50;

/// Adjustment that play-out should make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing.
    Stay,
    /// Cut a period out.
    Hurry,
    /// Put a period in.
    Wait,
}

/// Two windows, so that the least is that of at least one whole second.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    now: u32,
    before: Option<u32>,
    frames: u32,
}

impl Default for Level {
    fn default() -> Level {
        Level { now: u32::MAX, before: None, frames: 0 }
    }
}

impl Level {
    /// So many ms are left after a frame.
    pub fn note(&mut self, left_ms: u32) {
        self.now = self.now.min(left_ms);
        self.frames += 1;
        if self.frames >= WINDOW {
            *self = Level { before: Some(self.now), ..Level::default() };
        }
    }

    /// Returns the adjustment that the last seconds ask for.
    pub fn wish(&self) -> Wish {
        match self.before.map(|before| before.min(self.now)) {
            Some(least) if least > SPARE_MOST => Wish::Hurry,
            Some(least) if least < SPARE_LEAST => Wish::Wait,
            _ => Wish::Stay,
        }
    }

    /// Play-out was moved by so many ms.
    pub fn moved(&mut self, ms: i32) {
        let by = |least: u32| least.saturating_add_signed(ms);
        if self.now != u32::MAX {
            self.now = by(self.now);
        }
        self.before = self.before.map(by);
    }

    /// Nothing was left: a frame was put in.
    pub fn ran_dry(&mut self) {
        self.moved(super::FRAME_MS as i32);
    }
}
