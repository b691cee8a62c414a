//! Values of requests: each a type that checks its rule when it is read, and says the same rule in the
//! description.
//!
//! Why types: a bound that only the description has is no bound. Rules about bytes and letters are more than
//! a schema can say; a schema names them as a `format`, which docs/API.md explains.
//! Invariant: what the description allows is taken, and what it forbids is refused (schemathesis holds both).
//! Not here: rules that depend on the room or on the configuration (the engine).

use std::fmt;

use grandstand_protocol::limits;
use grandstand_protocol::rules::{check_room_name, is_display_name, is_name, is_text};
use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::api_keys::{NAME_CHARS_MAX, is_env};

/// The largest number that every reader of JSON keeps exactly.
pub(super) const INTEGER_MAX: u64 = (1 << 53) - 1;

macro_rules! texts {
    ($($(#[$doc:meta])* $Text:ident = $format:literal, [$low:expr, $high:expr], $rule:expr, $about:literal;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        pub(super) struct $Text(pub(super) String);

        impl<'de> Deserialize<'de> for $Text {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$Text, D::Error> {
                let text = String::deserialize(deserializer)?;
                let rule: fn(&str) -> bool = $rule;
                if rule(&text) { Ok($Text(text)) } else { Err(de::Error::custom(concat!("expected ", $about))) }
            }
        }

        impl PartialSchema for $Text {
            fn schema() -> RefOr<Schema> {
                let text = ObjectBuilder::new().schema_type(Type::String).description(Some($about));
                let text = text.min_length(Some($low)).max_length(Some($high));
                text.format(Some(SchemaFormat::Custom($format.to_owned()))).build().into()
            }
        }

        impl ToSchema for $Text {}
    )* };
}

texts! {
    /// The name of a room.
    RoomName = "room-name", [1, limits::ROOM_NAME_BYTES_MAX],
        |text| check_room_name(text, limits::ROOM_NAME_BYTES_MAX).is_ok(),
        "a name of a room: 1 to 128 bytes of visible text";
    /// The beginning of names of rooms.
    RoomPrefix = "room-prefix", [0, limits::ROOM_NAME_BYTES_MAX],
        |text| text.is_empty() || check_room_name(text, limits::ROOM_NAME_BYTES_MAX).is_ok(),
        "the beginning of a name of a room: at most 128 bytes of visible text";
    /// The name of an author.
    Author = "display-name", [1, limits::NAME_BYTES_MAX], is_display_name,
        "a display name: 1 to 64 bytes of visible text";
    /// The text of a message.
    MessageText = "chat-text", [1, limits::TEXT_BYTES_MAX],
        |text| text.len() <= limits::TEXT_BYTES_MAX && !text.trim().is_empty() && is_text(text),
        "a text: 1 to 4096 bytes of visible text, line feeds and tabs, and not only blanks";
    /// A reference to an attachment.
    Attachment = "attachment", [1, limits::ATTACHMENT_BYTES_MAX],
        |text| text.len() <= limits::ATTACHMENT_BYTES_MAX && is_name(text),
        "a reference to an attachment: 1 to 512 bytes of visible text";
    /// A key of a room's state.
    StateKey = "state-key", [1, limits::STATE_KEY_BYTES_MAX],
        |text| text.len() <= limits::STATE_KEY_BYTES_MAX && is_name(text),
        "a key of a room's state: 1 to 64 bytes of visible text";
    /// The name of a key's holder.
    HolderName = "holder", [1, NAME_CHARS_MAX],
        |text| (1..=NAME_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control),
        "a name: 1 to 64 characters without control characters";
    /// The environment of a key.
    Env = "env", [1, 16], is_env, "the name of an environment: 1 to 16 small letters and digits";
    /// A user, as tokens name one (`sub`).
    User = "user", [1, 256],
        |text| (1..=256).contains(&text.len()) && !text.chars().any(char::is_control),
        "a user: 1 to 256 bytes without control characters";
    /// Why somebody is banned.
    Reason = "reason", [0, 256],
        |text| text.len() <= 256 && !text.chars().any(char::is_control),
        "a reason: at most 256 bytes without control characters";
}

/// A whole number within bounds. One written as `5.0` is 5, as JSON Schema says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole<const LOW: u64, const HIGH: u64>(pub(super) u64);

impl<const LOW: u64, const HIGH: u64> Whole<LOW, HIGH> {
    pub(super) fn as_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

struct Visitor<const LOW: u64, const HIGH: u64>;

impl<const LOW: u64, const HIGH: u64> de::Visitor<'_> for Visitor<LOW, HIGH> {
    type Value = Whole<LOW, HIGH>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an integer from {LOW} to {HIGH}")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        let is_within = (LOW..=HIGH).contains(&number);
        if is_within {
            Ok(Whole(number))
        } else {
            Err(E::invalid_value(de::Unexpected::Unsigned(number), &self))
        }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        // Numbers up to 2^53 are exact.
        if number.fract() == 0.0 && (0.0..=INTEGER_MAX as f64).contains(&number) {
            return self.visit_u64(number as u64);
        }
        Err(E::invalid_value(de::Unexpected::Float(number), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u64>() {
            Ok(number) if is_digits => self.visit_u64(number),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }
}

/// Of JSON. A query has texts: see [`of_query`].
impl<'de, const LOW: u64, const HIGH: u64> Deserialize<'de> for Whole<LOW, HIGH> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Json<const LOW: u64, const HIGH: u64>;
        impl<const LOW: u64, const HIGH: u64> de::Visitor<'_> for Json<LOW, HIGH> {
            type Value = Whole<LOW, HIGH>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Visitor::<LOW, HIGH>.expecting(f)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Visitor.visit_u64(number)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Visitor.visit_i64(number)
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
                Visitor.visit_f64(number)
            }
        }
        deserializer.deserialize_any(Json)
    }
}

/// A number of a query, which is there: for `#[serde(default, deserialize_with = ...)]`.
pub(super) fn of_query<'de, D, const LOW: u64, const HIGH: u64>(
    deserializer: D,
) -> Result<Option<Whole<LOW, HIGH>>, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_str(Visitor).map(Some)
}

impl<const LOW: u64, const HIGH: u64> PartialSchema for Whole<LOW, HIGH> {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(LOW as i64))
            .maximum(Some(HIGH as i64));
        number.format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64))).build().into()
    }
}

impl<const LOW: u64, const HIGH: u64> ToSchema for Whole<LOW, HIGH> {
    fn name() -> std::borrow::Cow<'static, str> {
        format!("Whole{LOW}To{HIGH}").into()
    }
}

/// A cursor of a page: the name or the number after which it begins, which readers take as it is.
pub(super) mod cursor {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use crate::http::problem::Problem;

    /// What a reader gets.
    pub(crate) fn encode(after: &str) -> String {
        URL_SAFE_NO_PAD.encode(after)
    }

    /// What it stands for.
    ///
    /// # Errors
    /// 400: no page of this API had such a cursor.
    pub(crate) fn decode(cursor: &str) -> Result<String, Problem> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        text.ok_or_else(|| Problem::bad_request("the cursor is not one of a page: take `next` as it is"))
    }
}
