//! Where a reader is, and how that is stored: one JSON object, the same for every language and for the command line.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::proto::object::{Fields, Value, quoted};
use crate::proto::offset::{Offset, ReadFrom};

/// Where a reader is, to be stored by the caller: an offset, and how far into the answer that starts there.
///
/// Its JSON form is `{"from":"<offset>","skip":0}`, with `incarnation` where it is known; `from` may be `-1` or `now`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Checkpoint {
    /// Where to ask again.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub from: ReadFrom,
    /// Messages (JSON) or bytes after `from` that were delivered already.
    #[serde(default)]
    pub skip: u64,
    /// Which incarnation of the stream this belongs to, where the server tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
}

impl Checkpoint {
    /// The JSON form.
    pub fn to_json(&self) -> String {
        let mut json = format!("{{\"from\":{},\"skip\":{}", quoted(self.from.as_str()), self.skip);
        if let Some(incarnation) = &self.incarnation {
            json.push_str(",\"incarnation\":");
            json.push_str(&quoted(incarnation));
        }
        json.push('}');
        json
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// `InvalidArgument` for anything else.
    pub fn from_json(text: &str) -> Result<Self> {
        let refused = |why: &str| Error::invalid_argument(format!("not a checkpoint: {why}"));
        let fields = Fields::read(text).map_err(|error| refused(&error.to_string()).with_source(error))?;
        let from = fields.text("from").ok_or_else(|| refused("it has no text `from`"))?;
        let skip = match fields.get("skip") {
            None => Some(0),
            Some(Value::Number(number)) => number.parse().ok(),
            Some(_) => None,
        };
        let incarnation = match fields.get("incarnation") {
            None | Some(Value::Null) => None,
            Some(Value::Text(incarnation)) => Some(incarnation.clone()),
            Some(_) => return Err(refused("`incarnation` is not text")),
        };
        Ok(Self {
            from: from.parse().map_err(|error| refused(&format!("`from`: {error}")))?,
            skip: skip.ok_or_else(|| refused("`skip` is not a whole number >= 0"))?,
            incarnation,
        })
    }
}

impl From<ReadFrom> for Checkpoint {
    fn from(from: ReadFrom) -> Self {
        Self { from, ..Self::default() }
    }
}

impl From<Offset> for Checkpoint {
    fn from(offset: Offset) -> Self {
        ReadFrom::At(offset).into()
    }
}

fn as_text<S: serde::Serializer>(from: &ReadFrom, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(from.as_str())
}

fn from_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<ReadFrom, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_survives_its_json_form() {
        for checkpoint in [
            Checkpoint::default(),
            Checkpoint { from: Offset::new("0_7").unwrap().into(), skip: 3, incarnation: Some("x".into()) },
        ] {
            assert_eq!(Checkpoint::from_json(&checkpoint.to_json()).unwrap(), checkpoint);
        }
        assert_eq!(Checkpoint::from_json(r#"{"from":"0_7"}"#).unwrap(), Offset::new("0_7").unwrap().into());
        for garbage in ["", "{}", r#"{"from":""}"#, r#"{"from":"a b"}"#, r#"{"from":"0_7","skip":-1}"#] {
            assert!(Checkpoint::from_json(garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn the_json_form_is_what_serde_makes_of_it() {
        for text in [
            r#"{"from":"0_7","skip":3,"incarnation":"a\"b"}"#,
            r#"{"skip":0,"from":"now","incarnation":null,"more":{"from":"x"}}"#,
            r#"{"from":"-1","skip":18446744073709551615}"#,
            r#"{"from":"-1","skip":18446744073709551616}"#,
            r#"{"from":"-1","skip":1.0}"#,
            r#"{"from":"-1","skip":null}"#,
            r#"{"from":7}"#,
            r#"{"from":"-1","incarnation":7}"#,
            "[]",
        ] {
            let by_serde = serde_json::from_str::<Checkpoint>(text).ok();
            assert_eq!(Checkpoint::from_json(text).ok(), by_serde, "{text}");
            if let Some(checkpoint) = by_serde {
                assert_eq!(checkpoint.to_json(), serde_json::to_string(&checkpoint).unwrap());
            }
        }
    }
}
