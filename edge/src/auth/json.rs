//! JSON of a token's body: its claims by name, each in the form in which it was sent.
//!
//! Why by hand: a reader that is derived takes `null` for a missing field, and a map takes the last of two.
//! Invariants: a claim is there once; a value of a form that no claim has is [`Form::Other`]; what is ignored
//! is read to its end without recursion.
//! Not here: what a claim means (`claims`).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

/// How deeply claims may be nested. Identity providers nest two or three levels (`realm_access.roles`).
const DEPTH_MAX: u8 = 16;

/// A value that a claim can have.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// A list of texts; the empty list is one.
    Texts(Vec<String>),
    /// Something else: `null`, true, false, an object, a list with something else in it.
    Other,
}

/// The claims that have a meaning here, and the first fault of the body.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) exp: Option<Form>,
    pub(super) nbf: Option<Form>,
    pub(super) iat: Option<Form>,
    pub(super) iss: Option<Form>,
    pub(super) jti: Option<Form>,
    pub(super) aud: Option<Form>,
    pub(super) sub: Option<Form>,
    pub(super) name: Option<Form>,
    pub(super) role: Option<Form>,
    pub(super) may: Option<Form>,
    pub(super) rooms: Option<Form>,
    pub(super) fault: Option<&'static str>,
}

const NAMES: [&str; 11] = ["exp", "nbf", "iat", "iss", "jti", "aud", "sub", "name", "role", "may", "rooms"];

impl Fields {
    fn field(&mut self, name: &str) -> Option<&mut Option<Form>> {
        Some(match name {
            "exp" => &mut self.exp,
            "nbf" => &mut self.nbf,
            "iat" => &mut self.iat,
            "iss" => &mut self.iss,
            "jti" => &mut self.jti,
            "aud" => &mut self.aud,
            "sub" => &mut self.sub,
            "name" => &mut self.name,
            "role" => &mut self.role,
            "may" => &mut self.may,
            "rooms" => &mut self.rooms,
            _ => return None,
        })
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<String>()? {
            let fault = if let Some(field) = fields.field(&name) {
                let is_second = field.replace(map.next_value()?).is_some();
                is_second.then_some("the token has a claim twice")
            } else {
                let is_shallow = map.next_value_seed(Skip { depth_left: DEPTH_MAX - 1 })?;
                let is_near = NAMES.iter().any(|known| known.eq_ignore_ascii_case(name.trim()));
                match () {
                    () if is_near => Some("the token has a claim whose name is not written in lower case"),
                    () if !is_shallow => Some("the token's claims are nested deeper than 16 levels"),
                    () => None,
                }
            };
            fields.fault = fields.fault.or(fault);
        }
        Ok(fields)
    }
}

impl<'de> Deserialize<'de> for Form {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Form, D::Error> {
        deserializer.deserialize_any(FormVisitor)
    }
}

struct FormVisitor;

impl<'de> Visitor<'de> for FormVisitor {
    type Value = Form;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a claim")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Form, E> {
        Ok(Form::Other)
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Form, E> {
        Ok(Form::Number(n as f64))
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Form, E> {
        Ok(Form::Number(n as f64))
    }

    fn visit_f64<E: de::Error>(self, n: f64) -> Result<Form, E> {
        Ok(Form::Number(n))
    }

    fn visit_str<E: de::Error>(self, s: &str) -> Result<Form, E> {
        Ok(Form::Text(s.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Form, E> {
        Ok(Form::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Form, A::Error> {
        let (mut texts, mut is_other) = (Vec::new(), false);
        while let Some(element) = seq.next_element::<Form>()? {
            match element {
                Form::Text(text) => texts.push(text),
                _ => is_other = true,
            }
        }
        Ok(if is_other { Form::Other } else { Form::Texts(texts) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Form, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Form::Other)
    }
}

/// Reads a value that is ignored; whether it is nested at most so deeply.
struct Skip {
    depth_left: u8,
}

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a claim")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_unit<E: de::Error>(self) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let Some(depth_left) = self.depth_left.checked_sub(1) else {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(false);
        };
        let mut is_shallow = true;
        while let Some(element) = seq.next_element_seed(Skip { depth_left })? {
            is_shallow &= element;
        }
        Ok(is_shallow)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let Some(depth_left) = self.depth_left.checked_sub(1) else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(false);
        };
        let mut is_shallow = true;
        while map.next_key::<IgnoredAny>()?.is_some() {
            is_shallow &= map.next_value_seed(Skip { depth_left })?;
        }
        Ok(is_shallow)
    }
}
