//! Sessions of a worker: who hears whom. A worker owns its sessions whole; one thread drives it.
//!
//! One rule: control may allocate, the packet path ([`Worker::handle_datagram`] of RTP and RTCP) may not. What comes in at content
//! `n` of one leg goes out at content `n` of the leg that it is bridged with; a leg that is bridged with none hears nobody. RTCP ends
//! here: each leg has its own. Sockets, ports and random words are
//! the shell's: it is told by [`Worker::poll_closed`] which sockets are of no use any more.
//!
//! Start at [`Worker`]. Its files use those above them only:
//!
//! | files | there is |
//! |---|---|
//! | `types` | plain values between the shell and a worker |
//! | `reception`, `reports`, `feedback`, `cache`, `quality`, `associations`, `sdes`, `plain`, `webrtc`, `sources`, `wheel`, `checks` | parts of an endpoint, of a worker |
//! | `endpoint`, then `table`, then `send` | one endpoint; all of them, and sessions; how a packet leaves |
//! | `worker` | the state of all, timeouts, getters |
//! | `control`, `bridge`, `bundle`, `shared_socket`, `handshake`, `forward`, `rtcp_out`, `keyframe`, `sound`, `tones`, `snapshot` | methods of the worker, a concern each |

mod associations;
mod bridge;
mod bundle;
mod cache;
mod checks;
mod control;
mod endpoint;
mod feedback;
mod forward;
mod handshake;
mod keyframe;
mod plain;
mod quality;
mod reception;
mod reports;
mod rtcp_out;
mod sdes;
mod send;
mod shared_socket;
mod snapshot;
mod sound;
mod sources;
mod table;
#[cfg(test)]
mod tests;
mod tones;
mod types;
mod webrtc;
mod wheel;
mod worker;

pub use quality::{BOUNDS, Histograms, Scale, mos};
pub use sources::SoundHandle;
pub use types::{
    AHEAD, Arrival, CONTENTS, Deaf, EndpointId, EndpointState, Event, Form, Host, Key, Keyed, LEGS, Latched,
    LegRequest, Limits, Local, MAX_TRANSMIT, Refusal, Remote, RemoteReport, Report, Snapshot, Socket,
    Statistics, Transmit, Why,
};
pub use worker::Worker;
