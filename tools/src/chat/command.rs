//! A parser of typed lines: a line is a message to publish or a command.
//!
//! Not here: carrying a command out (`model`, `chat`).

use grandstand_client::net::OwnedAct;
use grandstand_client::protocol::limits::REACTION_COUNT_MAX;

use super::order;

/// A typed line, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Publish a message, perhaps as an answer to another one.
    Say {
        text: String,
        reply_to: Option<u64>,
    },
    React {
        key: String,
        count: u32,
    },
    /// Set a key of the room's state; without a value, remove it.
    State {
        key: String,
        value: Option<String>,
    },
    /// Keep order, or report.
    Act {
        act: OwnedAct,
        line: String,
    },
    Help,
    Quit,
}

/// The lines that `/help` prints.
pub(super) const HELP: [&str; 10] = [
    "/reply N TEXT     answer message N (or /r)",
    "/react ❤ [N]      react; F1 to F4 send ❤ 👏 😂 🎉",
    "/pin TEXT         pin a message, if you may; without TEXT unpin it",
    "/state KEY TEXT   set what the room shows, if you may",
    "//TEXT            say something that begins with a slash",
    "/quit             leave (or /q, or Ctrl-C)",
    "PageUp, PageDown  look back; Esc returns to the newest",
    "Up, Down          what you wrote before",
    "Alt-Enter         begin a new line in the message",
    "… is on its way, ✓ is accepted; the number is for /reply",
];

/// The key of the state lane under which rooms pin a message.
pub(super) const PINNED: &str = "pinned";

/// Read a line, or several that were pasted; `None` when there is nothing in it. A message keeps its spaces
/// and line breaks, other than blank lines before it and blanks at its end.
///
/// # Errors
/// The line is no valid command; the text says what is.
pub(super) fn parse(line: &str) -> Result<Option<Command>, String> {
    let line = line.trim_end();
    if line.is_empty() {
        return Ok(None);
    }
    let Some(command) = line.trim_start().strip_prefix('/') else {
        let blank = line.len() - line.trim_start().len();
        let begin = line[..blank].rfind('\n').map_or(0, |at| at + 1);
        return Ok(Some(say(&line[begin..], None)));
    };
    if command.starts_with('/') {
        return Ok(Some(say(command, None)));
    }
    let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim();
    match name {
        "help" | "h" | "?" => Ok(Command::Help),
        "quit" | "q" | "exit" => Ok(Command::Quit),
        "reply" | "r" => reply(rest),
        "react" => react(rest),
        "pin" => Ok(Command::State {
            key: PINNED.into(),
            value: Some(rest.to_owned()).filter(|text| !text.is_empty()),
        }),
        "state" => state(rest),
        _ if let Some(act) = order::parse(name, rest) => act.map(|(act, line)| Command::Act { act, line }),
        _ => Err(format!("there is no /{name}; /help lists what there is, // says it as it is")),
    }
    .map(Some)
}

fn say(text: &str, reply_to: Option<u64>) -> Command {
    Command::Say { text: text.to_owned(), reply_to }
}

fn reply(rest: &str) -> Result<Command, String> {
    let parts =
        rest.split_once(' ').map(|(number, text)| (number.trim_start_matches('#').parse(), text.trim()));
    match parts {
        Some((Ok(number), text)) if !text.is_empty() => Ok(say(text, Some(number))),
        _ => Err("/reply wants the number of a message and a text: /reply 12 me too".into()),
    }
}

fn react(rest: &str) -> Result<Command, String> {
    let (key, count) = rest.split_once(' ').unwrap_or((rest, "1"));
    match count.trim().parse() {
        Ok(count @ 1..=REACTION_COUNT_MAX) if !key.is_empty() => {
            Ok(Command::React { key: key.into(), count })
        }
        _ => Err(format!(
            "/react wants a reaction, and may be a number up to {REACTION_COUNT_MAX}: /react ❤ 3"
        )),
    }
}

fn state(rest: &str) -> Result<Command, String> {
    let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
    if key.is_empty() {
        return Err("/state wants a key and a text: /state score 3:1 (a key alone removes it)".into());
    }
    Ok(Command::State {
        key: key.into(),
        value: Some(value.trim().to_owned()).filter(|value| !value.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_mean_what_they_say() {
        let is = |line: &str| parse(line).unwrap().unwrap();
        assert_eq!(is("hello there "), say("hello there", None));
        assert_eq!(is("//shrug"), say("/shrug", None));
        assert_eq!(is("/reply #12 me too"), say("me too", Some(12)));
        assert_eq!(is("/react 👏"), Command::React { key: "👏".into(), count: 1 });
        assert_eq!(is("/react 👏 7"), Command::React { key: "👏".into(), count: 7 });
        assert_eq!(is("/state score 3:1"), Command::State { key: "score".into(), value: Some("3:1".into()) });
        assert_eq!(is("/pin"), Command::State { key: PINNED.into(), value: None });
        assert_eq!((is("/help"), is("/q")), (Command::Help, Command::Quit));
        assert_eq!(parse("   "), Ok(None));
    }

    #[test]
    fn messages_keep_their_spaces_and_line_breaks() {
        let is = |line: &str| parse(line).unwrap().unwrap();
        assert_eq!(is("  if a:\n\treturn  b\n\nelse:"), say("  if a:\n\treturn  b\n\nelse:", None));
        assert_eq!(is("\n \n    indented\nmore\n\n"), say("    indented\nmore", None));
        assert_eq!(is("/reply 12 me\ntoo"), say("me\ntoo", Some(12)));
        assert_eq!(is("//usr\n/lib"), say("/usr\n/lib", None));
        assert_eq!(parse(" \n\t\n"), Ok(None));
    }

    #[test]
    fn the_help_fits_80_columns_with_the_scrollbacks_margin() {
        assert!(HELP.iter().all(|line| crate::chat::clean::width(line) <= 80 - 13), "{HELP:#?}");
    }

    #[test]
    fn mistakes_are_answered_with_how_it_goes() {
        for (line, word) in [
            ("/reply", "/reply 12"),
            ("/reply x y", "number"),
            ("/react", "❤"),
            ("/react a 101", "100"),
            ("/dance", "/help"),
        ] {
            assert!(parse(line).unwrap_err().contains(word), "{line}");
        }
    }
}
