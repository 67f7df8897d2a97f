//! Phone services that a user sets from the client: the request that an XMPP edge gives to an orchestrator, and its answer.
//!
//! A request is a command of a form (XEP-0050, XEP-0004), shown or submitted, or words of a chat message; both mean the same settings
//! (R-SVC-5). An edge knows forms and words as they are written in XMPP, an orchestrator knows what they set.

use crate::stored::Stored;
use minicbor::{Decode, Encode};

/// Language of answers to a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Language {
    /// English.
    #[default]
    #[n(0)]
    English,
    /// German.
    #[n(1)]
    German,
}

impl Language {
    /// Returns the language of a tag (RFC 5646); English for one that is not spoken here.
    #[must_use]
    pub fn of(tag: Option<&str>) -> Language {
        let primary = tag.unwrap_or_default().split('-').next().unwrap_or_default();
        if primary.eq_ignore_ascii_case("de") { Language::German } else { Language::English }
    }
}

/// Command of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Command {
    /// Forwards every call (CFU).
    #[n(0)]
    ForwardUnconditional,
    /// Forwards a call that meets a busy user (CFB).
    #[n(1)]
    ForwardBusy,
    /// Forwards a call that is not answered in time (CFNR).
    #[n(2)]
    ForwardNoAnswer,
    /// Forwards a call to a user without a device on line.
    #[n(3)]
    ForwardOffline,
    /// Lets no call ring.
    #[n(4)]
    DoNotDisturb,
    /// Names callers whose calls are not taken.
    #[n(5)]
    Blocklist,
    /// Shows the settings.
    #[n(6)]
    Status,
    /// Withholds the number of the user from those who are called (CLIR).
    #[n(17)]
    CallerId,
    /// Turns the voicemail box on or off, and names it.
    #[n(18)]
    Voicemail,
    /// Forwards the calls of certain callers.
    #[n(19)]
    Callers,
    /// Takes no calls of callers who do not say who they are.
    #[n(20)]
    RejectAnonymous,
    /// Lets a second call ring while there is one.
    #[n(21)]
    CallWaiting,
}

impl Command {
    /// Commands in the order in which they are listed.
    pub const ALL: [Command; 12] = [
        Command::Status,
        Command::ForwardUnconditional,
        Command::ForwardBusy,
        Command::ForwardNoAnswer,
        Command::ForwardOffline,
        Command::Callers,
        Command::Voicemail,
        Command::DoNotDisturb,
        Command::CallWaiting,
        Command::Blocklist,
        Command::RejectAnonymous,
        Command::CallerId,
    ];

    /// Returns the last part of its node (interworking §9.4).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Command::ForwardUnconditional => "forward-unconditional",
            Command::ForwardBusy => "forward-busy",
            Command::ForwardNoAnswer => "forward-no-answer",
            Command::ForwardOffline => "forward-offline",
            Command::DoNotDisturb => "dnd",
            Command::Blocklist => "blocklist",
            Command::Status => "status",
            Command::CallerId => "caller-id",
            Command::Voicemail => "voicemail",
            Command::Callers => "callers",
            Command::RejectAnonymous => "reject-anonymous",
            Command::CallWaiting => "call-waiting",
        }
    }

    /// Returns the title in lists and forms.
    #[must_use]
    pub fn title(self, language: Language) -> &'static str {
        let (english, german) = match self {
            Command::ForwardUnconditional => ("Forward all calls", "Alle Anrufe weiterleiten"),
            Command::ForwardBusy => ("Forward when busy", "Bei Besetzt weiterleiten"),
            Command::ForwardNoAnswer => ("Forward when not answered", "Bei Nichtannahme weiterleiten"),
            Command::ForwardOffline => ("Forward when offline", "Bei Abwesenheit weiterleiten"),
            Command::DoNotDisturb => ("Do not disturb", "Nicht stören"),
            Command::Blocklist => ("Blocked callers", "Gesperrte Anrufer"),
            Command::Status => ("Settings of my calls", "Einstellungen meiner Anrufe"),
            Command::CallerId => ("Withhold my number", "Meine Nummer unterdrücken"),
            Command::Voicemail => ("Voicemail", "Mailbox"),
            Command::Callers => ("Forward certain callers", "Bestimmte Anrufer weiterleiten"),
            Command::CallWaiting => ("Call waiting", "Anklopfen"),
            Command::RejectAnonymous => ("Reject anonymous callers", "Anonyme Anrufer abweisen"),
        };
        match language {
            Language::English => english,
            Language::German => german,
        }
    }
}

/// Request of a user.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// Bare JID of the user, as the server vouches for it.
    #[n(0)]
    pub user: String,
    /// Language of the answer.
    #[n(1)]
    pub language: Language,
    /// The request itself.
    #[n(2)]
    pub query: Query,
}

/// Content of a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Query {
    /// Shows a command's form, or does what needs none.
    #[n(0)]
    Show(#[n(0)] Command),
    /// Submits a command's form: fields by name, each with its values.
    #[n(1)]
    Submit(#[n(0)] Command, #[n(1)] Vec<(String, Vec<String>)>),
    /// Words of a chat message.
    #[n(2)]
    Words(#[n(0)] String),
}

/// Answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Answer {
    /// A form to be filled in.
    #[n(0)]
    Form(#[n(0)] Form),
    /// Words for the user: done, or nothing to do.
    #[n(1)]
    Done(#[n(0)] String),
    /// Words for the user: the values make no sense, and the form once more if one was submitted.
    #[n(2)]
    Invalid(#[n(0)] String, #[n(1)] Option<Form>),
    /// Settings cannot be read or stored now.
    #[n(3)]
    Unavailable,
}

/// Form (XEP-0004).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Form {
    /// Title.
    #[n(0)]
    pub title: String,
    /// Instructions.
    #[n(1)]
    pub instructions: String,
    /// Fields, in order.
    #[n(2)]
    pub fields: Vec<Field>,
}

/// Field of a form.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Field {
    /// Name.
    #[n(0)]
    pub name: String,
    /// Label.
    #[n(1)]
    pub label: String,
    /// Type.
    #[n(2)]
    pub kind: FieldKind,
    /// Present values.
    #[n(3)]
    pub values: Vec<String>,
}

/// Type of a field (XEP-0004 §3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum FieldKind {
    /// `boolean`
    #[n(0)]
    Boolean,
    /// `text-single`
    #[n(1)]
    TextSingle,
    /// `text-multi`
    #[n(2)]
    TextMulti,
}

impl Stored for Request {
    const NAME: &'static str = "a request for a phone service";
    const VERSION: u16 = 1;
    const OLDEST: u16 = 1;
}

impl Stored for Answer {
    const NAME: &'static str = "an answer of a phone service";
    const VERSION: u16 = 1;
    const OLDEST: u16 = 1;
}
