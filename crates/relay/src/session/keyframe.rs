//! Keyframe requests: by control, and where frames that later ones depend on were never forwarded.

use super::types::Refusal;
use super::worker::Worker;

impl Worker {
    /// Requests a keyframe of the peer of an endpoint: the other side has asked for one by signalling (RFC 5168).
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn request_keyframe(&mut self, session: &str, leg: u32, content: u32) -> Result<(), Refusal> {
        let index = self.find(session, leg, content)?;
        self.want_keyframe(index);
        Ok(())
    }

    /// Requests a keyframe of the peer of the endpoint at `index`, whose frames are forwarded again after a gap: they depend on
    /// frames that were not. Receivers would wait before they ask (libwebrtc: 3 s).
    pub(super) fn keyframe_after_gap(&mut self, index: u32) {
        if let Some(end) = self.endpoints.get_mut(index) {
            end.gap = false;
        }
        self.want_keyframe(index);
    }

    fn want_keyframe(&mut self, index: u32) {
        if let Some(feedback) = self.endpoints.get_mut(index).and_then(|end| end.feedback.as_mut()) {
            feedback.want_keyframe();
            self.queue_rtcp(index);
        }
    }
}
