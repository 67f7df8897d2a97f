//! Music on hold: the peer of a leg that holds hears music, if there is any.

use super::{Accepted, Feature};
use crate::call::Effects;
use crate::call::effect::Effect;
use crate::call::record::Call;
use signal::media::Kind;
use signal::{LegId, Media};

/// Music on hold.
pub(super) struct HoldMusic;

impl Feature for HoldMusic {
    fn accepted(&self, call: &Call, accepted: &Accepted, effects: &mut Effects) {
        let described = call.leg(accepted.leg).and_then(|leg| leg.remote_description.as_ref());
        let holds = described.is_some_and(Media::holds);
        if holds != accepted.before.as_ref().is_some_and(Media::holds) {
            play(call, accepted.leg, holds, effects);
        }
    }
}

/// Starts music for the peer of a leg that holds, or stops it.
pub(in crate::call) fn play(call: &Call, from: LegId, holds: bool, effects: &mut Effects) {
    let (Some(music), Some(leg)) = (&call.policy.music, call.peer(from)) else { return };
    let end = call.leg(from).and_then(|holder| {
        let heard = holder.remote_description.as_ref()?;
        let audio = heard.contents.iter().position(|c| c.kind == Kind::Audio && !c.rejected)?;
        // Ends are those of what is served, whatever m= lines stand before it.
        Some(call.facing(holder, heard, audio))
    });
    let Some(content) = end.and_then(|end| u16::try_from(end).ok()) else { return };
    effects.push(Effect::Play { leg, content, sound: holds.then(|| music.clone()) });
}
