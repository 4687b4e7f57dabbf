//! Flat JSON objects: control events and checkpoints, which is all JSON that the machines look into.
//!
//! The grammar is the [`json`] scanner's. A general parser would do the same, and be a tenth of what a page downloads.

use super::json::{self, JsonError};

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Text(String),
    /// As it was written.
    Number(&'a str),
    Flag(bool),
    Null,
    /// An object or an array.
    Container,
}

/// The fields of an object.
#[derive(Debug)]
pub(crate) struct Fields<'a>(Vec<(String, Value<'a>)>);

impl<'a> Fields<'a> {
    /// Reads one object.
    ///
    /// # Errors
    /// Says what is wrong and at which byte.
    pub(crate) fn read(text: &'a str) -> Result<Self, JsonError> {
        json::check_document(text.as_bytes())?;
        let inside = text.trim_matches(is_blank).strip_prefix('{').and_then(|it| it.strip_suffix('}'));
        let Some(inside) = inside else { return Err(JsonError { position: 0, expected: "an object" }) };
        let position = |rest: &str| rest.as_ptr() as usize - text.as_ptr() as usize;
        let mut fields = Vec::new();
        let mut rest = inside.trim_start_matches(is_blank);
        while !rest.is_empty() {
            let (name, after) = rest.split_at(text_len(rest));
            let name = unescaped(name).ok_or_else(|| JsonError { position: position(rest), expected: UNICODE })?;
            // The document is one: a colon follows, and blanks may be around it.
            rest = after.trim_start_matches(is_blank).trim_start_matches(':').trim_start_matches(is_blank);
            let (value, after) = rest.split_at(value_len(rest));
            let value = Value::read(value).ok_or_else(|| JsonError { position: position(rest), expected: UNICODE })?;
            fields.push((name, value));
            rest = after.trim_start_matches(is_blank).trim_start_matches(',').trim_start_matches(is_blank);
        }
        Ok(Self(fields))
    }

    /// A field; of more with the same name the last one.
    pub(crate) fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// A field that is text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }
}

const UNICODE: &str = "characters in whole";

impl<'a> Value<'a> {
    /// Of a text that is one value; `None` where half a character is escaped.
    fn read(text: &'a str) -> Option<Self> {
        Some(match text.as_bytes().first() {
            Some(b'"') => Self::Text(unescaped(text)?),
            Some(b'{' | b'[') => Self::Container,
            Some(b't') => Self::Flag(true),
            Some(b'f') => Self::Flag(false),
            Some(b'n') => Self::Null,
            _ => Self::Number(text),
        })
    }
}

fn is_blank(it: char) -> bool {
    matches!(it, ' ' | '\n' | '\r' | '\t')
}

/// How long the string at the beginning is, quotes included.
fn text_len(text: &str) -> usize {
    let mut bytes = text.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return at + 1,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    text.len()
}

/// How long the value at the beginning is.
fn value_len(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at) {
        match byte {
            b'"' => at += text_len(&text[at..]) - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b',' | b' ' | b'\n' | b'\r' | b'\t' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

/// What a string stands for; `None` where half a character is escaped.
fn unescaped(quoted: &str) -> Option<String> {
    let inside = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        // The scanner has seen that it is one of these, and that four digits follow a `u`.
        let (kind, after) = escape.split_at_checked(1)?;
        rest = after;
        text.push(match kind {
            "b" => '\u{8}',
            "f" => '\u{c}',
            "n" => '\n',
            "r" => '\r',
            "t" => '\t',
            "u" => {
                let high = unit(&mut rest)?;
                let low = if (0xd800..0xdc00).contains(&high) {
                    rest = rest.strip_prefix("\\u")?;
                    Some(unit(&mut rest)?)
                } else {
                    None
                };
                char::decode_utf16([high].into_iter().chain(low)).next()?.ok()?
            }
            other => other.chars().next()?,
        });
    }
    text.push_str(rest);
    Some(text)
}

/// Takes the four digits of an escape.
fn unit(rest: &mut &str) -> Option<u16> {
    let (digits, after) = rest.split_at_checked(4)?;
    *rest = after;
    u16::from_str_radix(digits, 16).ok()
}

/// A text as a JSON string, quotes included; also how texts are quoted in messages.
pub fn quoted(text: &str) -> String {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for it in text.chars() {
        let escape = match it {
            '"' | '\\' => it,
            '\u{8}' => 'b',
            '\u{c}' => 'f',
            '\n' => 'n',
            '\r' => 'r',
            '\t' => 't',
            '\0'..' ' => {
                quoted.push_str("\\u00");
                quoted.push(HEX[it as usize >> 4]);
                quoted.push(HEX[it as usize & 15]);
                continue;
            }
            _ => {
                quoted.push(it);
                continue;
            }
        };
        quoted.push('\\');
        quoted.push(escape);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_read_whatever_is_around_them() {
        let text = " { \"a\" : \"x\\n\\u00e9\\ud83d\\ude00\\/\" ,\"b\":[1,{\"c\":\"]}\"}], \"d\":-1.5e3 ,\"e\":true,\"f\":null,\"a\":false}\n";
        let fields = Fields::read(text).unwrap();
        assert_eq!(fields.0[0], ("a".to_owned(), Value::Text("x\n\u{e9}\u{1f600}/".to_owned())));
        assert_eq!(fields.get("b"), Some(&Value::Container));
        assert_eq!(fields.get("d"), Some(&Value::Number("-1.5e3")));
        assert_eq!((fields.get("e"), fields.get("f")), (Some(&Value::Flag(true)), Some(&Value::Null)));
        assert_eq!(fields.get("a"), Some(&Value::Flag(false)), "the last one counts");
        assert_eq!((fields.get("c"), fields.text("e")), (None, None));
        assert!(Fields::read("{}").unwrap().0.is_empty());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in ["", "[]", "\"{}\"", "{", "{\"a\"}", "{\"a\":1}}", "{\"a\":\"\\ud800\"}", "{\"\\udc00\":1}", "{a:1}"]
        {
            assert!(Fields::read(bad).is_err(), "{bad}");
        }
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        prop_oneof![
            any::<String>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<bool>().prop_map(serde_json::Value::from),
            Just(serde_json::Value::Null),
            prop::collection::vec(any::<String>(), 0..3).prop_map(serde_json::Value::from),
            prop::collection::hash_map(any::<String>(), any::<String>(), 0..3)
                .prop_map(|it| serde_json::to_value(it).unwrap()),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(map in prop::collection::btree_map(any::<String>(), value(), 0..6), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&map) } else { serde_json::to_string(&map) }.unwrap();
            let fields = Fields::read(&text).unwrap();
            prop_assert_eq!(fields.0.len(), map.len());
            for (name, value) in &map {
                let read = match fields.get(name) {
                    Some(Value::Text(text)) => text.as_str().into(),
                    Some(Value::Number(text)) => serde_json::from_str(text).unwrap(),
                    Some(Value::Flag(flag)) => (*flag).into(),
                    Some(Value::Null) => serde_json::Value::Null,
                    Some(Value::Container) if value.is_array() || value.is_object() => value.clone(),
                    other => panic!("{other:?} for {value}"),
                };
                prop_assert_eq!(&read, value);
            }
        }

        #[test]
        fn a_quoted_text_is_that_of_serde_json(text: String) {
            prop_assert_eq!(quoted(&text), serde_json::to_string(&text).unwrap());
        }
    }
}
