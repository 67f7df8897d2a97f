//! Exit codes of the command: scripts rely on them.

/// A fault was found, or what was asked for was refused.
pub const FAULT: u8 = 1;
/// The command line makes no sense (clap's own code).
pub const USAGE: u8 = 2;
/// There is no such call, leg, user or instance.
pub const NOT_FOUND: u8 = 3;
/// Somebody does not answer.
pub const UNREACHABLE: u8 = 4;

/// Text below `tandem --help`.
pub const HELP: &str =
    "Exit codes: 0 fine, 1 a fault or a refusal, 2 usage, 3 no such thing, 4 somebody does not answer";
