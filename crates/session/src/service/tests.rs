//! Forms and words, and the settings that come of them.

use super::*;
use signal::service::{FieldKind, Language};

/// Fields of a submitted form by name, each with its values.
type Fields<'a> = &'a [(&'a str, &'a [&'a str])];

fn request(query: Query, language: Language) -> Request {
    Request { user: "rosa@example.net".into(), language, query }
}

fn said(settings: &Settings, text: &str) -> (Answer, Option<Settings>) {
    serve(settings, &Mailbox::default(), &request(Query::Words(text.into()), Language::English))
}

fn submitted(settings: &Settings, command: Command, fields: Fields<'_>) -> (Answer, Option<Settings>) {
    let values = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    let fields = fields.iter().map(|(name, of)| ((*name).to_owned(), values(of))).collect();
    serve(settings, &Mailbox::default(), &request(Query::Submit(command, fields), Language::English))
}

/// R-SVC-5: each sentence, in both languages, sets what its form sets.
#[test]
fn words_equal_forms_in_effect() {
    use Command::{
        Blocklist, CallWaiting, CallerId, Callers, DoNotDisturb, ForwardBusy, ForwardNoAnswer,
        ForwardOffline, ForwardUnconditional, RejectAnonymous, Voicemail,
    };
    let on: Fields<'_> = &[("active", &["1"]), ("target", &["2050"])];
    let after: Fields<'_> = &[("active", &["true"]), ("target", &["2050"]), ("delay", &["20"])];
    let cases: &[(&[&str], Command, Fields<'_>)] = &[
        (
            &[
                "forward all to 2050",
                "forward always 2050",
                "Weiterleiten alle an 2050",
                "umleiten immer 2050",
            ],
            ForwardUnconditional,
            on,
        ),
        (
            &["forward busy to 2050", "weiterleiten besetzt an 2050", "umleiten bei besetzt nach 2050"],
            ForwardBusy,
            on,
        ),
        (
            &[
                "forward no answer to 2050 after 20",
                "forward unanswered 2050 after 20 seconds",
                "weiterleiten keine antwort an 2050 nach 20",
                "weiterleiten nichtannahme nach 2050 nach 20 s",
            ],
            ForwardNoAnswer,
            after,
        ),
        (&["forward offline to 2050", "weiterleiten abwesend an 2050"], ForwardOffline, on),
        (&["forward busy to 20 50", "forward busy to 2050"], ForwardBusy, on),
        (
            &["dnd on", "do not disturb on", "bitte nicht stören an", "NICHT STÖREN ein"],
            DoNotDisturb,
            &[("active", &["1"])],
        ),
        (&["block 2041", "sperren 2041"], Blocklist, &[("callers", &["2041", " "])]),
        (
            &["hide number on", "caller id off", "Nummer unterdrücken an", "nummer anzeigen aus"],
            CallerId,
            &[("active", &["1"])],
        ),
        (&["reject anonymous on", "anonyme abweisen ein"], RejectAnonymous, &[("active", &["true"])]),
        (&["call waiting off", "Anklopfen aus"], CallWaiting, &[("active", &["0"])]),
        (&["voicemail off", "mailbox aus", "anrufbeantworter aus"], Voicemail, &[("active", &["0"])]),
        (
            &["voicemail box 2090", "mailbox nummer 20 90"],
            Voicemail,
            &[("active", &["1"]), ("box", &["2090"])],
        ),
        (
            &["forward caller 2041 to 2050", "weiterleiten anrufer 2041 an 2050"],
            Callers,
            &[("rules", &["2041 -> 2050", ""])],
        ),
    ];
    for (sentences, command, fields) in cases {
        let (answer, settings) = submitted(&Settings::default(), *command, fields);
        assert!(settings.is_some(), "{command:?}: {answer:?}");
        for sentence in *sentences {
            assert_eq!(said(&Settings::default(), sentence).1, settings, "{sentence}");
        }
    }
}

#[test]
fn what_is_set_is_ended_and_told() {
    let (_, set) = said(&Settings::default(), "forward no answer to sip:2050@pbx.example after 25");
    let mut settings = set.unwrap();
    for sentence in ["forward busy to tom@example.net", "block 2041", "block 2042", "dnd on"] {
        settings = said(&settings, sentence).1.unwrap();
    }
    let (status, unchanged) =
        serve(&settings, &Mailbox::default(), &request(Query::Show(Command::Status), Language::German));
    let expected = "Alle Anrufe weiterleiten: aus\n\
                    Bei Besetzt weiterleiten: an tom@example.net\n\
                    Bei Nichtannahme weiterleiten: an sip:2050@pbx.example nach 25 s\n\
                    Bei Abwesenheit weiterleiten: aus\n\
                    Bestimmte Anrufer weiterleiten: aus\n\
                    Mailbox: an\n\
                    Nicht stören: an\n\
                    Anklopfen: an\n\
                    Gesperrte Anrufer: 2041, 2042\n\
                    Anonyme Anrufer abweisen: aus\n\
                    Meine Nummer unterdrücken: aus";
    assert_eq!((status, unchanged), (Answer::Done(expected.into()), None));
    assert_eq!(said(&settings, "block 2041").1, None, "once is enough");
    for sentence in ["forward off", "unblock 2041", "entsperren 2042", "nicht stören aus"] {
        settings = said(&settings, sentence).1.unwrap_or_else(|| panic!("{sentence}"));
    }
    assert_eq!(settings, Settings::default());
    let (_, set) = said(&settings, "forward busy to 2050");
    let (_, ended) =
        submitted(&set.unwrap(), Command::ForwardBusy, &[("active", &["0"]), ("target", &["2050"])]);
    assert_eq!(ended, Some(Settings::default()));
}

#[test]
fn a_form_shows_what_is_set() {
    let (_, set) = said(&Settings::default(), "forward no answer to 2050 after 25");
    let shown = request(Query::Show(Command::ForwardNoAnswer), Language::English);
    let (Answer::Form(form), None) = serve(&set.unwrap(), &Mailbox::default(), &shown) else { panic!() };
    let fields: Vec<_> = form.fields.iter().map(|f| (f.name.as_str(), f.kind, f.values.join(","))).collect();
    let expected = [
        ("active", FieldKind::Boolean, "1".to_owned()),
        ("target", FieldKind::TextSingle, "2050".to_owned()),
        ("delay", FieldKind::TextSingle, "25".to_owned()),
    ];
    assert_eq!((form.title.as_str(), &fields[..]), ("Forward when not answered", &expected[..]));
    for command in Command::ALL {
        let shown = request(Query::Show(command), Language::German);
        let (answer, None) = serve(&Settings::default(), &Mailbox::default(), &shown) else {
            panic!("{command:?}")
        };
        assert_eq!(matches!(answer, Answer::Done(_)), command == Command::Status);
    }
}

#[test]
fn what_makes_no_sense_changes_nothing_and_is_told() {
    let none = Settings::default();
    for sentence in [
        "forward",
        "forward busy",
        "forward busy to",
        "forward sometimes to 2050",
        "forward busy to 2050 after 20",
        "forward no answer to 2050 after soon",
        "forward busy to two of them",
        "dnd",
        "dnd perhaps",
        "block",
        "good morning",
        "",
        &"x".repeat(5_000),
        "forward no answer to 2050 after 2",
        "forward no answer to 2050 after 70000",
        "forward caller",
        "forward caller 2041",
        "forward caller to 2050",
        "voicemail",
        "voicemail box",
        "voicemail box voicemail",
        "hide number",
        "reject anonymous perhaps",
    ] {
        let (answer, settings) = said(&none, sentence);
        assert!(matches!(answer, Answer::Invalid(..)) && settings.is_none(), "{sentence}: {answer:?}");
    }
    assert!(matches!(said(&none, "hilfe").0, Answer::Done(text) if text.contains("weiterleiten")));
    assert!(matches!(said(&none, " HELP ").0, Answer::Done(text) if text.contains("forward")));
    let cases: [(Command, Fields<'_>); 12] = [
        (Command::ForwardBusy, &[("active", &["1"])]),
        (Command::ForwardBusy, &[("active", &["yes"]), ("target", &["2050"])]),
        (Command::ForwardBusy, &[("active", &["1"]), ("target", &["a b"])]),
        (Command::ForwardNoAnswer, &[("active", &["1"]), ("target", &["2050"]), ("delay", &["soon"])]),
        (Command::ForwardNoAnswer, &[("active", &["1"]), ("target", &["2050"]), ("delay", &["2"])]),
        (Command::DoNotDisturb, &[]),
        (Command::Blocklist, &[("callers", &["2041 2042"])]),
        (Command::CallerId, &[]),
        (Command::RejectAnonymous, &[("active", &["maybe"])]),
        (Command::Voicemail, &[("box", &["2090"])]),
        (Command::Callers, &[("rules", &["2041 2050"])]),
        (Command::Callers, &[("rules", &["-> 2050"])]),
    ];
    for (command, fields) in cases {
        let (answer, settings) = submitted(&none, command, fields);
        assert!(
            matches!(answer, Answer::Invalid(..)) && settings.is_none(),
            "{command:?} {fields:?}: {answer:?}"
        );
    }
    let many: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let fields = vec![("callers".to_owned(), many)];
    let (answer, _) = serve(
        &none,
        &Mailbox::default(),
        &request(Query::Submit(Command::Blocklist, fields), Language::English),
    );
    let Answer::Invalid(words, Some(_)) = answer else { panic!("{answer:?}") };
    assert_eq!(words, "That are too many callers; the most is 256.");
}

/// R-SVC-2, R-MWI-2
#[test]
fn rules_by_caller_and_the_box_are_shown_as_they_are_set() {
    let mut settings = Settings::default();
    for sentence in
        ["forward caller 2041 to 2050", "forward caller 2042 to 2050", "forward caller 2043 to voicemail"]
    {
        settings = said(&settings, sentence).1.unwrap();
    }
    settings = said(&settings, "forward caller 2041 to tom@example.net").1.unwrap();
    settings = said(&settings, "voicemail box 2090").1.unwrap();
    let shown = |settings: &Settings, counts: Option<Option<(u32, u32)>>| {
        let mailbox = counts.map_or_else(Mailbox::default, |counts| {
            let mut mailbox = Mailbox::default();
            mailbox
                .take(crate::mailbox::Announcement { mailbox: "voicemail@sip.example.net".into(), counts });
            mailbox
        });
        let words = request(Query::Words("status".into()), Language::English);
        let (Answer::Done(text), None) = serve(settings, &mailbox, &words) else { panic!() };
        text
    };
    let status = shown(&settings, Some(Some((2, 8))));
    let rules = "2042 -> 2050; 2043 -> voicemail; 2041 -> tom@example.net";
    assert!(status.contains(&format!("Forward certain callers: {rules}\n")), "{status}");
    assert!(status.contains("\nVoicemail: on, 2090, 2 new / 8 old\n"), "{status}");
    assert!(shown(&Settings::default(), Some(None)).contains("\nVoicemail: on, new messages\n"));
    let form = request(Query::Show(Command::Callers), Language::English);
    let (Answer::Form(form), None) = serve(&settings, &Mailbox::default(), &form) else { panic!() };
    let lines: Vec<&str> = form.fields[0].values.iter().map(String::as_str).collect();
    let (_, same) = submitted(&settings, Command::Callers, &[("rules", &lines)]);
    assert_eq!((lines.join("; ").as_str(), same), (rules, None), "a form that comes back changes nothing");
    let (_, off) = said(&settings, "voicemail off");
    let mut settled = off.unwrap();
    assert_eq!(settled.voicemail.as_deref(), Some("2090"), "the box is remembered");
    settled.settle_voicemail(Some("*97"));
    assert_eq!(settled.voicemail, None);
}

/// Every sentence and every command that docs/services.md shows.
#[test]
fn what_the_documentation_shows_is_understood() {
    let page = include_str!("../../../../docs/services.md");
    let sentences = page.split("```").nth(1).unwrap().trim().lines();
    for sentence in sentences {
        assert!(matches!(said(&Settings::default(), sentence).0, Answer::Done(_)), "{sentence}");
    }
    for command in Command::ALL {
        let row = format!("| {} | `urn:tandem:cmd:{}` |", command.title(Language::English), command.name());
        assert!(page.contains(&row), "{row}");
    }
}
